"""Kaldi data directories and the corpora that become them."""
