"""``tfunroll export``: see tfunroll/commands/export.py, or --help."""

from tfunroll.commands import main

if __name__ == "__main__":
    main("export")
