"""Environment validation: ``python setup_utils.py [--json]``, the same as ``lakehouse doctor``."""

from lakehouse.cli.app import main_as

if __name__ == "__main__":
    main_as("doctor")
