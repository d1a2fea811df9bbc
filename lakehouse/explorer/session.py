"""One face's way to the lake: statements, views, a moment in time; and an end to what runs.

What was opened stays open while its tables have no newer version, so that asking again costs the
question alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from lakehouse.core.text import say
from lakehouse.explorer.catalogue import Catalogue, is_plain, named_in
from lakehouse.settings.sections import ExplorerSettings
from lakehouse.storage.log_health import Log

if TYPE_CHECKING:
    from datetime import datetime

    from lakehouse.explorer.sql import Answer, Reader
    from lakehouse.settings.sections import KafkaSettings

T = TypeVar("T")
_OPEN = 4
"""So many sets of tables stay open."""
_AGAIN, _GIVE_UP = 0.05, 5.0
"""Seconds from one interrupt to the next, and after which no more is sent."""


class Cancelled(Exception):  # named as the errors of this house are
    """Somebody ended the question."""


class Session:
    """Questions to one lake, one at a time, from any thread. A context manager."""

    def __init__(
        self, catalogue: Catalogue, settings: ExplorerSettings, views: Mapping[str, str]
    ) -> None:
        """``views`` are name → SELECT that statements may use as tables."""
        self.catalogue, self.settings, self.views = catalogue, settings, dict(views)
        self.tell: Callable[[str], None] = say
        """Takes narration, such as that a moment is folded again."""
        self.kafka: Callable[[], KafkaSettings | None] = lambda: None
        """The broker of the lake's topics, where one is named or runs."""
        self._readers: dict[tuple[tuple[str, int], ...], Reader] = {}
        self._one = threading.Lock()
        self._running: tuple[Reader, threading.Event] | None = None
        """What answers the question that runs, and what says that it has ended."""
        self._ending = threading.Lock()
        self._is_cancelled = threading.Event()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what runs, and close what is open."""
        self.cancel()
        with self._one:
            self._forget(0)

    def back_to(self, version: int | None = None, at: datetime | None = None) -> None:
        """Ask of another version or time from now on; with neither, of the newest."""
        with self._one:
            self.catalogue = self.catalogue.back_to(version, at)
            self._forget(0)

    def ask(self, statement: str, limit: int | None = None, *, is_counted: bool = True) -> Answer:
        """Run one read: its first ``limit`` rows. Cancelled if somebody ended it."""
        from lakehouse.explorer.allowed import check  # noqa: PLC0415  # DuckDB loads slowly
        from lakehouse.explorer.sql import in_time  # noqa: PLC0415  # likewise

        with self._one:
            self._is_cancelled.clear()
            in_time(self.settings, lambda: check(statement, self.views, self.catalogue.names))
            reader = self._reader(statement)
            if self._is_cancelled.is_set():
                raise Cancelled
            return self._watched(
                reader, lambda: reader.ask(statement, limit, is_counted=is_counted)
            )

    def usable(self) -> list[str]:
        """The views of which the lake has the tables."""
        names = {*self.catalogue.names()}
        return [view for view, sql in self.views.items() if names.issuperset(named_in(sql))]

    def cancel(self) -> None:
        """End the question that runs, if one does; whoever asked it gets Cancelled."""
        self._is_cancelled.set()
        if running := self._running:
            threading.Thread(target=self._insist, args=running, daemon=True).start()

    def versions(self, names: list[str]) -> dict[str, int]:
        """The newest version of each table, from its log's folder alone."""
        found = {}
        for name in names:
            if is_plain(name):
                found[name] = len(self.catalogue.plain_files(name))
            else:
                with suppress(OSError):  # gone since: its reader says so
                    found[name] = Log.of(self.catalogue.lake.table(name)).newest or 0
        return found

    def _watched(self, reader: Reader, work: Callable[[], T]) -> T:
        ended = threading.Event()
        self._running = reader, ended
        try:
            return work()
        except Exception:
            if self._is_cancelled.is_set():
                raise Cancelled from None
            self._forget(0)  # a table that could not be read may be whole by the next time
            raise
        finally:
            self._running = None
            with self._ending:
                ended.set()

    def _insist(self, reader: Reader, ended: threading.Event) -> None:
        """Interrupt until the question ends: DuckDB forgets what comes before execution.

        The next question may have the same reader: it is not interrupted.
        """
        for _ in range(int(_GIVE_UP / _AGAIN)):
            with self._ending:
                if ended.is_set():
                    return
                reader.interrupt()
            ended.wait(_AGAIN)

    def _reader(self, statement: str) -> Reader:
        from lakehouse.explorer.sql import Reader, mentioned  # noqa: PLC0415  # likewise

        names = mentioned(self.catalogue, [statement], self.views)
        key = tuple(sorted(self.versions(names).items()))
        if key not in self._readers:
            self._forget(_OPEN - 1)
            self._readers[key] = Reader(self.catalogue, self.settings, [statement], self.views)
        self._readers[key] = self._readers.pop(key)
        return self._readers[key]

    def _forget(self, keep: int) -> None:
        """Close the readers that were used longest ago."""
        for key in [*self._readers][: max(0, len(self._readers) - keep)]:
            self._readers.pop(key).__exit__()
