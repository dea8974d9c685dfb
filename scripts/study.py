"""``tfunroll study``: see tfunroll/commands/study.py, or --help."""

from tfunroll.commands import main

if __name__ == "__main__":
    main("study")
