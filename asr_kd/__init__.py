"""Several acoustic models averaged and distilled into one, from a corpus to a WER report."""

__version__ = "0.1.0"
