"""What stands in the street and how it is drawn; nothing here knows where the street runs."""
