"""``tfunroll evaluate``: see tfunroll/commands/evaluate.py, or --help."""

from tfunroll.commands import main

if __name__ == "__main__":
    main("evaluate")
