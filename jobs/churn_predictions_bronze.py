"""spark-submit entry point of churn_predictions.bronze; see README for the command line."""

import sys

from lakehouse.runtime.job import main

if __name__ == "__main__":
    main(["churn_predictions.bronze"], sys.argv[1:])
