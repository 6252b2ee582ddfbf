"""What a run found, as one self-contained HTML page."""
