"""Numerical building blocks on tensors; no Keras here."""
