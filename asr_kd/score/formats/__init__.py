"""Formats of transcripts: one file a format, `read` for all of them."""
