"""Tables of labels and categories of the public data sets."""
