"""Acoustic models: features in, logits out; checkpoints."""
