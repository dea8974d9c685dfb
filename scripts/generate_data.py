"""``tfunroll data``: see tfunroll/commands/data.py, or --help."""

from tfunroll.commands import main

if __name__ == "__main__":
    main("data")
