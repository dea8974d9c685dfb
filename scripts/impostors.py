"""``tfunroll impostors``: see tfunroll/commands/impostors.py, or --help."""

from tfunroll.commands import main

if __name__ == "__main__":
    main("impostors")
