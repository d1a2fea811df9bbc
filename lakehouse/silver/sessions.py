"""Sessions: what each key did in one go, a function of its events in order of time.

The store keeps of each key the events of its sessions that are not final, as pieces: one event
each, or all events of an open session that lie before the watermark, which nothing can come
between any more. It keeps the moment too at which the first of them becomes final, so
that the watermark alone closes sessions. Each batch works out anew the sessions of the keys
that it touches, from their pieces and the new events.

Worked example. A timeout of 30 minutes; the watermark is at 12:00. Ada's session began 11:50.

- Her event of 12:10 comes, and then one of 11:58 is not late either: both are put in their
  places by time. Her row, by key and start, is replaced.
- Had there been a silence that one of them bridges, two rows would become one: what a batch
  leaves for the table says which rows are gone.
- The watermark passes 12:40. Her session is final, its row says so, and the store forgets it.

A crash before the store's transaction changes nothing. A store that is lost is made anew from
the sessions that the table calls not final, and their events in bronze.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
from deltalake import DeltaTable

from lakehouse.core.errors import DeclarationError
from lakehouse.model.window import FINAL, Session
from lakehouse.settings.sections import ProductSettings
from lakehouse.silver.keys import packed, words_sql
from lakehouse.silver.latest import GONE
from lakehouse.silver.render import ARROW
from lakehouse.silver.store import Store
from lakehouse.silver.windows import moment_key
from lakehouse.storage.duck import Prepared, scan
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.table import Table

_MICRO = timedelta(microseconds=1)
DATE = "session_date"
"""The column that the table is partitioned by."""


class Piece(msgspec.Struct, array_like=True, order=True):
    """Events of one session that nothing comes between; ordered by time, what ends last."""

    first: int
    closes: bool
    last: int
    counts: list[int]


class _Held(msgspec.Struct, array_like=True):
    key: str
    pieces: list[Piece]


@dataclass
class _Kept:
    """What a batch changes in the store."""

    held: list[tuple[bytes, bytes]] = field(default_factory=list)
    due: list[tuple[bytes, bytes]] = field(default_factory=list)
    gone: list[bytes] = field(default_factory=list)
    due_no_more: list[bytes] = field(default_factory=list)


_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder(_Held).decode


@dataclass(frozen=True)
class Made:
    """One session, made of pieces; times are in microseconds since 1970."""

    pieces: Sequence[Piece]
    is_followed: bool
    """Whether a later session of the key is known."""

    @property
    def start(self) -> int:
        """Time of its first event."""
        return self.pieces[0].first

    @property
    def end(self) -> int:
        """Time of its last event."""
        return self.pieces[-1].last

    def due(self, timeout: int) -> int:
        """Once the watermark has passed this, it is final."""
        return self.end if self.pieces[-1].closes else self.end + timeout

    def ended(self, timeout: int, watermark: int | None) -> str:
        """How it ended, as far as that is known."""
        if self.pieces[-1].closes:
            return "end"
        is_silent = watermark is not None and watermark > self.end + timeout
        return "timeout" if self.is_followed or is_silent else "open"


def divided(pieces: Sequence[Piece], timeout: int) -> list[Made]:
    """The sessions of pieces in their order."""
    groups: list[list[Piece]] = []
    for piece in pieces:
        before = groups[-1][-1] if groups else None
        if (
            before is None
            or (before.closes and piece.first > before.last)
            or piece.first - before.last > timeout
        ):
            groups.append([])
        groups[-1].append(piece)
    return [Made(group, n + 1 < len(groups)) for n, group in enumerate(groups)]


def timeout_of(session: Session, section: ProductSettings) -> int:
    """A session's timeout in microseconds, from settings where the declaration names a key."""
    timeout: Any = session.timeout
    if isinstance(timeout, str):
        timeout = getattr(section, timeout, None)
    if not isinstance(timeout, timedelta) or timeout <= timedelta(0):
        raise DeclarationError(
            f"session {session.name!r}", f"its timeout {session.timeout!r} is no duration",
            "give a timedelta above 0, or the key of the product's section that has one",
        )  # fmt: skip
    return timeout // _MICRO


def left_schema(session: Session) -> pa.Schema:
    """The Arrow schema of the pending rows that a batch leaves for the table."""
    fields = [pa.field(name, ARROW[kind]) for name, kind in session.columns.items()]
    return pa.schema([*fields, pa.field(GONE, pa.bool_())])


def session_schema(session: Session) -> pa.Schema:
    """The Arrow schema of the table."""
    return pa.schema(
        [pa.field(name, ARROW[kind], nullable=False) for name, kind in session.columns.items()]
    )


class SessionState:
    """The sessions of one declaration that are not final; ``connection`` reads ``rows``."""

    def __init__(
        self, session: Session, timeout: int, connection: duckdb.DuckDBPyConnection
    ) -> None:
        self.session, self._timeout, self._connection = session, timeout, connection
        self.space, self.due_space = f"session {session.name}", f"due {session.name}"
        self._schema = left_schema(session)
        self._found = Prepared(connection, self._select("rows", "NOT is_late"))

    def _select(self, source: str, where: str) -> str:
        """SQL: the events of sessions, a row each, with their places in the store."""
        session = self.session
        counts = ", ".join(f"CAST(({sql}) AS INTEGER)" for sql, _ in session.counts.values())
        return (
            f"SELECT *, {words_sql('key', 'place')} FROM (SELECT {session.key} AS key, "
            f"epoch_us({session.time}) AS moment, coalesce({session.ends}, false) AS closes, "
            f"[{counts}] AS counts FROM {source} WHERE {where} AND ({session.where}))"
        )

    def absorb(self, store: Store, watermark: int | None) -> pa.Table:
        """Apply ``rows`` and the watermark, within a transaction; gives what is left for the table.

        Every event that comes later, and is not late, is at or after the watermark.
        """
        came = self._by_key(self._found())
        due = [] if watermark is None else [*store.before(self.due_space, moment_key(watermark))]
        touched = sorted({*came, *(key[8:] for key, _ in due)})
        held = {place: _DECODE(value) for place, value in store.get(self.space, touched).items()}
        rows: list[dict[str, Any]] = []
        kept = _Kept()
        for place in touched:
            new = came.get(place)
            old = held.get(place)
            key = old.key if old else new.key if new else ""
            before = divided(old.pieces if old else [], self._timeout)
            pieces = sorted([*(old.pieces if old else []), *(new.pieces if new else [])])
            after = divided(pieces, self._timeout)
            gone = {made.start for made in before} - {made.start for made in after}
            rows += [{self.session.key: key, "session_start": at, GONE: True} for at in gone]
            rows += [self._row(key, made, watermark) for made in after]
            self._keep(kept, place, key, before, after, watermark)
        self._store(kept, store)
        return self._table(rows)

    def load(self, table: Table, bronze: str, version: int, store: Store) -> Iterator[int]:
        """Load the events of sessions that the table, at a version of bronze, calls not final."""
        files = table.files()
        if not files:
            return
        key, held = self.session.key, DeltaTable(bronze, version=version)
        sql = (
            f"FROM {scan(held, files_of(held))} JOIN (SELECT {key}, min(session_start) AS since "
            f"FROM {scan(table.dt, files)} WHERE NOT {FINAL} GROUP BY ALL) USING ({key}) "
            f"WHERE NOT is_duplicate AND NOT is_late AND {self.session.time} >= since"
        )
        found = self._connection.cursor().sql(self._select(f"({sql})", "true")).to_arrow_table()
        kept = _Kept()
        for place, events in self._by_key(found).items():
            made = divided(sorted(events.pieces), self._timeout)
            self._keep(kept, place, events.key, [], made, None)
        with store.writing():
            self._store(kept, store)
        yield found.num_rows

    def _by_key(self, rows: pa.Table) -> dict[bytes, _Held]:
        """The place of each key in the store → its events."""
        found: dict[bytes, _Held] = {}
        columns = (rows[n].to_pylist() for n in ("key", "moment", "closes", "counts"))
        for place, key, moment, closes, counts in zip(
            packed(rows, "place_high", "place_low"), *columns, strict=True
        ):
            held = found.get(place) or found.setdefault(place, _Held(key, []))
            held.pieces.append(Piece(moment, closes, moment, counts))
        return found

    def _keep(
        self,
        kept: _Kept,
        place: bytes,
        key: str,
        before: Sequence[Made],
        after: Sequence[Made],
        watermark: int | None,
    ) -> None:
        """Put what is not final in the place of what was there."""
        if before:
            kept.due_no_more.append(moment_key(before[0].due(self._timeout)) + place)
        if watermark is not None:
            after = [made for made in after if made.due(self._timeout) >= watermark]
        if not after:
            kept.gone.append(place)
            return
        pieces = [piece for made in after for piece in _joined(made.pieces, watermark)]
        kept.held.append((place, _ENCODE(_Held(key, pieces))))
        kept.due.append((moment_key(after[0].due(self._timeout)) + place, b""))

    def _store(self, kept: _Kept, store: Store) -> None:
        """Write it to the store, within a transaction."""
        store.remove(self.due_space, kept.due_no_more)
        store.remove(self.space, kept.gone)
        store.put(self.space, sorted(kept.held))
        store.put(self.due_space, sorted(kept.due))

    def _row(self, key: str, made: Made, watermark: int | None) -> dict[str, Any]:
        counts = made.pieces[0].counts
        if len(made.pieces) > 1:
            counts = [*map(sum, zip(*(p.counts for p in made.pieces), strict=True))]
        return {
            self.session.key: key, "session_start": made.start, "session_end": made.end,
            "duration_seconds": Decimal((made.end - made.start) // 1000).scaleb(-3),
            **dict(zip(self.session.counts, counts, strict=True)),
            "ended": made.ended(self._timeout, watermark),
            FINAL: watermark is not None and made.due(self._timeout) < watermark,
            GONE: False,
        }  # fmt: skip

    def _table(self, rows: Sequence[dict[str, Any]]) -> pa.Table:
        """The rows as they are left for the table, with the date of their start."""
        made = pa.Table.from_pylist([*rows], self._schema)
        place, date = made.schema.names.index(DATE), self._schema.field(DATE)
        return made.set_column(place, date, made["session_start"].cast(date.type, safe=False))


def _joined(pieces: Iterable[Piece], watermark: int | None) -> Iterator[Piece]:
    """The same, those before the watermark as one: nothing comes between them any more."""
    whole: Piece | None = None
    for piece in pieces:
        if watermark is None or piece.closes or piece.last >= watermark:
            if whole:
                yield whole
            whole = None
            yield piece
        elif whole is None:
            whole = piece
        else:
            counts = [a + b for a, b in zip(whole.counts, piece.counts, strict=True)]
            whole = Piece(whole.first, False, piece.last, counts)
    if whole:
        yield whole
