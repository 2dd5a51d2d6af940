"""Files of general formats."""
