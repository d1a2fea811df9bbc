"""The analytics explorer: ``python query_utils.py``, the same as ``lakehouse explore``."""

from lakehouse.cli.app import main_as

if __name__ == "__main__":
    main_as("explore")
