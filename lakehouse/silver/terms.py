"""What settings say of a flow's tables: commits carry it, and other terms rebuild silver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lakehouse.core.errors import DeclarationError
from lakehouse.model.flow import Aggregate, SilverFlow
from lakehouse.model.window import EXACT, TIMEOUTS
from lakehouse.settings.sections import ProductSettings
from lakehouse.silver.sessions import timeout_of

Terms = dict[str, dict[str, Any]]
"""TIMEOUTS and EXACT → table → what it is made by; what a flow has none of is left out."""


def terms_of(flow: SilverFlow, section: ProductSettings) -> Terms:
    """The terms of a flow's tables, by its product's section."""
    timeouts = {s.name: timeout_of(s, section) for s in flow.sessions}
    exact = {a.name: _asked(a, section) for a in flow.aggregates if a.exact}
    return {name: of for name, of in ((TIMEOUTS, timeouts), (EXACT, exact)) if of}


def _asked(aggregate: Aggregate, section: ProductSettings) -> list[str]:
    """The exact counts of an aggregate that settings ask for."""
    asked = []
    for name, exact in (aggregate.exact or {}).items():
        value: Any = getattr(section, exact.setting, None) if exact.setting else True
        if not isinstance(value, bool):
            raise DeclarationError(
                f"table {aggregate.name!r}, exact count {name!r}",
                f"its setting {exact.setting!r} is {value!r}, and says not yes or no",
                "name a key of the product's section that is true or false",
            )  # fmt: skip
        if value:
            asked.append(name)
    return asked


def other_terms(terms: Terms, told: Callable[[str, str], Any]) -> str:
    """Why tables are of no use by these terms; nothing where they are.

    ``told`` gives what a table's commits say of TIMEOUTS or EXACT; None of one that is empty.
    """
    for name, timeout in terms.get(TIMEOUTS, {}).items():
        held: Any = (told(name, TIMEOUTS) or {}).get(name, timeout)
        if held != timeout:
            return f"sessions were divided at {held / 1e6:g} s, and are at {timeout / 1e6:g} s"
    for name, asked in terms.get(EXACT, {}).items():
        said = told(name, EXACT)
        if said is not None and said.get(name, []) != asked:
            before, now = (", ".join(one) or "nothing" for one in (said.get(name, []), asked))
            return f"{name} counted {before} exactly, and is to count {now}"
    return ""
