"""``python -m lakehouse``: the command, which imports nothing more from the working folder.

Python has put that folder first, for its own runner and for us. What lies in a stranger's is not
imported from here on; what Python itself had imported before is beyond us: see docs/security.md.
"""

import os
import sys

_OURS = os.path.realpath(os.path.join(os.path.dirname(__file__), os.pardir))  # noqa: PTH118, PTH120  # pathlib imports more
if not sys.flags.safe_path and os.path.realpath(sys.path[0]) != _OURS:
    del sys.path[0]

from lakehouse.cli.app import main  # noqa: E402  # once the path is safe

main()
