"""Kaldi's own file formats: models, trees, alignments, posteriors and graphs, binary or text."""
