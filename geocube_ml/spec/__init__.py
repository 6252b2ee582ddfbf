"""What to compute: frozen values that a recipe is made of."""
