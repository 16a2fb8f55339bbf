"""The stages that put a label on every frame."""
