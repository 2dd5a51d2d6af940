"""Models as files: our own, and those published elsewhere."""
