"""`python -m kddim` is the command `kddim`."""

from kddim.cli import main

main()
