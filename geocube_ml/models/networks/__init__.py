"""Networks: one file each, with its paper."""
