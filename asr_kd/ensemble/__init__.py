"""Teachers averaged into one distribution per frame, and its store."""
