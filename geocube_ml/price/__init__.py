"""What a cube takes, before a pixel is read."""
