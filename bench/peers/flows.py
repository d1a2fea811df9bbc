"""``lakehouse run`` of the flows that are named, until they are up to date; prints {}."""

from __future__ import annotations

import subprocess
import sys

from bench.process import python

if __name__ == "__main__":
    words = ("run", *sys.argv[1:], "--available-now")
    done = subprocess.run(python("lakehouse", *words), stdout=sys.stderr, check=False)
    print("{}")
    sys.exit(done.returncode)
