"""What a cube takes, before it is made: from its items, a few headers and a few blocks."""
