"""Kaldi tables and archives, audio in, atomic writes."""
