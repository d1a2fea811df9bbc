"""spark-submit entry point of activity.postgres; see README for the command line."""

import sys

from lakehouse.runtime.job import main

if __name__ == "__main__":
    main(["activity.postgres"], sys.argv[1:])
