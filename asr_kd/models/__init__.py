"""Acoustic models: `(feats (B,T,F), lengths (B,)) -> (logits (B,T',V), lengths (B,))`."""
