"""Command line as `python -m kddim`, and as the script `kddim`."""

from kddim import signals


def main() -> None:
    """Run the command line, and let signals end it from the first moment."""
    with signals.handled():
        from kddim.cli import main

        main()


if __name__ == "__main__":
    main()
