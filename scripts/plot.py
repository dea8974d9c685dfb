"""``tfunroll plot``: see tfunroll/commands/plot.py, or --help."""

from tfunroll.commands import main

if __name__ == "__main__":
    main("plot")
