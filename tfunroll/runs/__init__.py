"""Runs: a configuration as flags and files, its plan, its folder, and the processes that work on it."""
