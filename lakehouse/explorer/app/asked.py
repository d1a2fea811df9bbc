"""What a screen may meet when it asks the lake, as a sentence; never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from textual.content import Content

from lakehouse.core.errors import LakehouseError
from lakehouse.core.text import paragraph, printable
from lakehouse.explorer.session import Cancelled

if TYPE_CHECKING:
    from textual.widget import Widget

    from lakehouse.explorer.app.app import Explorer


class Refused(Exception):  # named as the errors of this house are
    """A question without an answer: ``str()`` is one line for a person."""

    def __init__(self, text: str, at: tuple[int, int] | None = None) -> None:
        super().__init__(text)
        self.at = at
        """Line and column of the statement, from 1."""


@contextmanager
def asked() -> Iterator[None]:
    """Raise Refused where the lake, the statement or the disk is at fault; for threads."""
    # the first screen comes before the engine
    from lakehouse.explorer.allowed import SqlRejected, line  # noqa: PLC0415
    from lakehouse.storage.faults import ENGINES  # noqa: PLC0415  # likewise

    try:
        yield
    except Cancelled:
        raise Refused("cancelled") from None
    except SqlRejected as error:
        raise Refused(f"{error.place}: {said(error)}", error.at) from None
    except LakehouseError as error:
        raise Refused(f"{printable(error.place)}: {said(error)}") from None
    except (*ENGINES, OSError) as error:
        raise Refused(f"the lake: {line(error)}; it may be changing: ask again") from None


def said(error: LakehouseError) -> str:
    """Fault and remedy, in a line."""
    return printable(f"{error.fault} (fix: {error.remedy})")


def shown(text: str) -> Content:
    """Text on the screen: names and values of strangers are in it, which no terminal obeys."""
    return Content(paragraph(text))


def explorer(widget: Widget) -> Explorer:
    """The app that a widget is in."""
    return cast("Explorer", widget.app)
