"""README's picture: the terminal explorer on a lake, as it is drawn; made by ``make picture``.

``--check`` fails where the code that draws it has changed since.
"""

from __future__ import annotations

import asyncio
import re
import sys
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "explorer.svg"
SIZE = (124, 32)
_MARK = re.compile(r"<!-- of (\w+) -->")


def drawn_by() -> str:
    """The sum of the code that draws what the picture shows."""
    files = sorted((ROOT / "lakehouse" / "explorer" / "app").glob("*.py"))
    files.append(ROOT / "lakehouse" / "products" / "sales" / "report.py")
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


async def screenshot(root: str) -> str:
    """The explorer's first screen on this lake, as SVG."""
    from lakehouse.cli.asking import opened  # noqa: PLC0415  # --check does without
    from lakehouse.explorer.app.app import Explorer  # noqa: PLC0415  # likewise

    settings, session = opened(None, Path(root), None, None, None)
    with session:
        app = Explorer(session, settings)
        async with app.run_test(size=SIZE) as pilot:
            await pilot.pause(2.0)
            return app.export_screenshot(title="lakehouse explore")


def main() -> None:
    """Draw, or ``--check``."""
    if sys.argv[1:] == ["--check"]:
        found = _MARK.search(PICTURE.read_text("utf-8"))
        if found is None or found[1] != drawn_by():
            sys.exit(f"{PICTURE.name} is older than the code that draws it: make picture")
        return
    svg = asyncio.run(screenshot(sys.argv[1]))
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.S)  # its fonts would be loaded from afar
    PICTURE.write_text(f"{svg.rstrip()}\n<!-- of {drawn_by()} -->\n", "utf-8")


if __name__ == "__main__":
    main()
