"""The analytics explorer: ``python query_utils.py``, or ``--batch`` for the whole report."""

from lakehouse.cli.explore import main

if __name__ == "__main__":
    main()
