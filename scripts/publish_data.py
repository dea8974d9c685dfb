"""``tfunroll publish``: see tfunroll/commands/publish.py, or --help."""

from tfunroll.commands import main

if __name__ == "__main__":
    main("publish")
