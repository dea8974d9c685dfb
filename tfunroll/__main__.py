"""``python -m tfunroll COMMAND``: as the command ``tfunroll``."""

from tfunroll.commands import main

if __name__ == "__main__":
    main()
