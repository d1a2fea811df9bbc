"""Which entry of docs/troubleshooting.md says more of a message; none where the docs are not here.

An entry begins with what the software says, in backticks: ``…`` stands for what differs from one
time to another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
_SAID = re.compile(r"`([^`]* [^`]*)`(?!:)")
"""What is said, in more than one word; what stands before a colon is who says it."""
_LEAST = 12
"""Characters of a message that tell it from others."""


def entry_of(message: str) -> str:
    """The words by which the entry is found that fits a message best; empty where none does."""
    fitting = [(size, said) for size, said, pattern in _entries() if re.search(pattern, message)]
    return max(fitting, default=(0, ""))[1]


def _entries() -> Iterator[tuple[int, str, str]]:
    """Of each message that is explained: its fixed characters, its words, its pattern."""
    try:
        text = DOCUMENT.read_text("utf-8")
    except OSError:
        return
    for line in text.splitlines():
        if not line.startswith("| "):
            continue
        for said in _SAID.findall(line.split(" | ")[0]):
            parts = [part.strip() for part in said.split("…")]
            if max(map(len, parts)) >= _LEAST:
                yield sum(map(len, parts)), said, ".*?".join(map(re.escape, parts))
