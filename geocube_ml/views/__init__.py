"""A cube as one likes to read it: a variable a band, physical values, indices, gaps filled."""
