"""What is printed: narration on stderr, and text from data, of which a terminal obeys nothing."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from functools import cache
from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console


Say = Callable[[str], None]
"""Tells a person how far something is."""
_CLOSE, _FEW = 0.6, 4
"""How alike a name is that was mistyped, 1 is the same; and so many are named of many."""
_FORGED = re.compile(r"\n(?=[^\S\n]*fix:)", re.I)


def whole_number(text: object) -> int | None:
    """The number that plain digits are, as a log or a manifest writes one; None of anything else.

    Digits of other alphabets do not count, nor does a number that no column holds.
    """
    told = str(text)
    return int(told) if len(told) < 19 and told.isascii() and told.isdigit() else None


def of_tables(name: str, names: Sequence[str], otherwise: str) -> str:
    """The remedy for a table that is not there: the one of these names that may be meant, or a few.

    ``otherwise`` is what else may be done.
    """
    if close := nearest(name, names):
        return f"Did you mean {close!r}?"
    if len(names) <= _FEW + 1:
        return f"tables are: {', '.join(names)}; or {otherwise}" if names else otherwise
    layer = name.rpartition(".")[0]
    few = sorted(names, key=lambda known: not known.startswith(f"{layer}."))[:_FEW]
    more = f"{len(names) - _FEW} more, as `lakehouse tables` lists"
    return f"tables are: {', '.join(few)} and {more}; or {otherwise}"


def nearest(name: str, names: Sequence[str]) -> str | None:
    """The name that is most alike, of its layer where there is such, by the part after it."""
    import difflib  # noqa: PLC0415  # help does without

    layer, dot, own = name.lower().rpartition(".")
    known = [k for k in names if dot and k.lower().startswith(f"{layer}.")] or [*names]
    last = [k.rpartition(".")[2].lower() for k in known]
    close = difflib.get_close_matches(own, last, n=1, cutoff=_CLOSE)
    return known[last.index(close[0])] if close else None


def one_line(error: BaseException | str, most: int = 200) -> str:
    """An error's text in one line, cut after so many characters."""
    return " ".join(str(error).split())[:most]


def printable(text: str) -> str:
    """The text with control, direction and other unprintable characters written out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def paragraph(text: str) -> str:
    """:func:`printable`, but for line ends."""
    return "\n".join(printable(line) for line in text.split("\n"))


def sayable(text: str) -> str:
    """:func:`paragraph` in which no line of data can look like an error's own ``fix:`` line."""
    return paragraph(_FORGED.sub(r"\\n", text))


def for_spreadsheet(text: str) -> str:
    """:func:`printable`, and no formula: a sheet would compute it, or fetch what it names."""
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(("=", "+", "-", "@")) else shown


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON of plain values; times as RFC 3339, money as text.

    What a terminal might obey has JSON's own escapes: the value stays the same.
    """

    def plain(item: Any) -> str:
        return str(item.isoformat()) if hasattr(item, "isoformat") else str(item)

    try:
        text = json.dumps(value, default=plain, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:  # JSON has no infinite numbers, and a reader would stop at one
        text = as_json(_finite(value), indent)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c).strip('"') for c in text)


def _finite(value: Any) -> Any:
    """The value with text for NaN and infinite numbers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [*map(_finite, value)] if isinstance(value, list | tuple) else value


NARRATING = RLock()
"""Held while something is said, or a bar comes or goes: else the one draws the other again."""


def say(text: str) -> None:
    """Narration: on stderr, so that stdout is data; folded at words on a terminal.

    Not where a word is longer than half a line: an address or a path that is cut by a line end
    cannot be copied. The terminal wraps it then.
    """
    with NARRATING:
        console, shown = narration(), paragraph(text)
        is_cut = 2 * max(map(len, shown.split()), default=0) > console.width
        whole = is_cut or not sys.stderr.isatty()
        console.print(shown, markup=False, highlight=False, soft_wrap=whole)


@cache
def narration() -> Console:
    """The console on stderr."""
    from rich.console import Console  # noqa: PLC0415  # help does without

    return Console(stderr=True)
