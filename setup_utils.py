"""Environment validation: ``python setup_utils.py [--json]``, the same as ``lakehouse doctor``."""

import typer

from lakehouse.cli.doctor import doctor

if __name__ == "__main__":
    typer.run(doctor)
