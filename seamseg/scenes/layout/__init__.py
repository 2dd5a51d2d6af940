"""Layout of the street, and placement of all objects in it."""
