"""``python -m tests.hostile [EDITS]``: edits of one cell, a product; exit 1 where one is missed."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.hostile.edits import missed
from tests.hostile.lakes import LAKES

EDITS = 200


def main(edits: int) -> int:
    """Edit, audit, and say which edits the audit called anything but not proven."""
    left = []
    for product, make in LAKES.items():
        with tempfile.TemporaryDirectory(prefix="lakehouse-hostile-") as folder:
            root = Path(folder, "lake")
            found = missed(root, make(root), range(edits), product, lambda told: print(told[:160]))
            left += [f"{product}: {told}" for told in found]
    print(f"{len(LAKES) * edits} edits of one cell, {len(left)} that were not found")
    print("\n".join(left))
    return 1 if left else 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else EDITS))
