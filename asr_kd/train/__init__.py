"""One training loop for teachers and students."""
