"""spark-submit entry point of orders.parquet; see README for the command line."""

import sys

from lakehouse.runtime.job import main

if __name__ == "__main__":
    main(["orders.parquet"], sys.argv[1:])
