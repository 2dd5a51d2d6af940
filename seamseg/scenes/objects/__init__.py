"""Objects in the street and their drawing, independent of the course of the street."""
