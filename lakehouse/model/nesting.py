"""How deep JSON may be nested: the same for every reader, however deep its own stack is."""

from __future__ import annotations

import re

MOST = 100
"""Objects and lists within each other; Python's own readers end near 1,000, less its callers."""
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def is_too_deep(value: bytes) -> bool:
    """Whether JSON is nested more than ``MOST`` deep."""
    if value.count(b"[") + value.count(b"{") <= MOST:
        return False
    depth = 0
    for token in _TOKENS.finditer(value):
        if token[0] in b"[{":
            depth += 1
            if depth > MOST:
                return True
        elif token[0] in b"]}":
            depth -= 1
    return False
