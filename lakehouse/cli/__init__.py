"""The command line: one file a group of verbs."""

from __future__ import annotations


def main() -> None:
    """The ``lakehouse`` command."""
    from lakehouse.cli.app import main as run  # nothing loads before it is called

    run()
