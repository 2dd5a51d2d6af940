"""Model files: our own formats, exports to other runtimes, and the published formats that can be read."""
