"""Models of tables, as arrays that need no library to answer."""
