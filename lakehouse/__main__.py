"""``python -m lakehouse``: the command."""

from lakehouse.cli import main

main()
