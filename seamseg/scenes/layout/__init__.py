"""The street, and where everything stands in it."""
