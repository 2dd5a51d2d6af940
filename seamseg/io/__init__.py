"""Files, worker pools and progress bars."""
