"""Acoustic features: log-mel, MFCC, deltas, normalisation."""
