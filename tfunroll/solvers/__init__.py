"""Numerical solvers: steppers without weights."""
