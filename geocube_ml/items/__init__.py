"""Which items there are, wherever they are listed, and what each says of its assets."""
