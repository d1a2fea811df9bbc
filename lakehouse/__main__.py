"""``python -m lakehouse``: the command."""

from lakehouse.cli.app import main

main()
