"""Command line as `python -m kddim`."""

from kddim.cli import main

if __name__ == "__main__":
    main()
