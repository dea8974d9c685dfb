"""``tfunroll train``: see tfunroll/commands/train.py, or --help."""

from tfunroll.commands import main

if __name__ == "__main__":
    main("train")
