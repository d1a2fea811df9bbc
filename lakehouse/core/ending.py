"""The end of several things: each is ended, whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def end_each(ends: Iterable[Callable[[], object]]) -> None:
    """Call all of these in turn; the first error is raised once all have ended.

    A second Ctrl-C ends it at once.
    """
    errors: list[Exception] = []
    for end in ends:
        try:
            end()
        except Exception as error:  # noqa: BLE001  # raised below
            errors.append(error)
    if errors:
        raise errors[0]
