"""Corpora: one file each, from what people download to Kaldi data directories."""
