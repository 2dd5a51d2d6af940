"""Label and category tables of the public data sets."""
