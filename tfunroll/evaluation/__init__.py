"""Rollouts over test data, measured, averaged and compared."""
