"""spark-submit entry point of activity.enriched; see README for the command line."""

import sys

from lakehouse.runtime.job import main

if __name__ == "__main__":
    main(["activity.enriched"], sys.argv[1:])
