"""Runs: a configuration as flags and files, its plan, folder, and the processes that work on it."""
