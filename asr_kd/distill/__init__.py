"""Distillation losses: tensors in, tensors out."""
