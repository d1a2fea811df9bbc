"""Sessions: what each key did in one go, a function of its events in order of time.

The store keeps of each key the events of its sessions that are not final, as pieces: see
:mod:`lakehouse.silver.pieces`. It keeps a moment too at which to look whether the first of them is
final, so that the watermark alone closes sessions. That is no later than it becomes so, but may be
earlier: a session that goes on keeps its moment, and gets another when it is looked at. Each batch
recomputes the sessions of the keys that it touches, from their pieces and the new events.

Worked example. A timeout of 30 minutes; the watermark is at 12:00. Ada's session began 11:50.

- Her event of 12:10 comes, and then one of 11:58 is not late either: both are put in their
  places by time. Her row, by key and start, is replaced.
- Had there been a silence that one of them bridges, two rows would become one: what a batch
  leaves for the table says which rows are gone.
- The watermark passes 12:40. Her session is final, its row says so, and the store forgets it.

A crash before the store's transaction changes nothing. A store that is lost is rebuilt from
the sessions that the table calls not final, and their events in bronze.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

from lakehouse.core import failpoint
from lakehouse.core.errors import DeclarationError
from lakehouse.core.failpoint import Step
from lakehouse.model.window import FINAL, Session
from lakehouse.settings.sections import ProductSettings
from lakehouse.silver.keys import moment_key, packed, words_sql
from lakehouse.silver.latest import GONE
from lakehouse.silver.pieces import NEVER, Pieces, Sessions, Words, key_of, unpacked
from lakehouse.silver.render import ARROW
from lakehouse.silver.store import Store
from lakehouse.storage.duck import scan
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.prepared import Prepared, Source
from lakehouse.storage.table import Table

_MICRO = timedelta(microseconds=1)
DATE = "session_date"
"""The column that the table is partitioned by."""
_ENDED = ("end", "timeout", "open")
_LONGEST = 1 << 61
"""Microseconds: longer than any silence between two times that there are."""


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
    """The sessions of one declaration that are not final."""

    def __init__(
        self, session: Session, timeout: int, connection: duckdb.DuckDBPyConnection, rows: Source
    ) -> None:
        self.session, self._connection = session, connection.cursor()
        self._timeout = min(timeout, _LONGEST)
        self.space, self.due_space = f"session {session.name}", f"due {session.name}"
        self._schema = left_schema(session)
        self._found = Prepared(connection, self._select("rows", "NOT is_late"), {"rows": rows})

    def _select(self, source: str, where: str) -> str:
        """SQL: the events of sessions, a piece each, with their places in the store."""
        session = self.session
        counts = "".join(
            f", CAST(({sql}) AS BIGINT) AS count_{n}"
            for n, (sql, _) in enumerate(session.counts.values())
        )
        return (
            f"SELECT *, {words_sql('key', 'place')} FROM (SELECT {session.key} AS key, "
            f"epoch_us({session.time}) AS first, first AS last, "
            f"CAST(coalesce({session.ends}, false) AS BIGINT) AS closes{counts} "
            f"FROM {source} WHERE {where} AND ({session.where}))"
        )

    def absorb(self, store: Store, watermark: int | None) -> pa.Table:
        """Apply ``rows`` and the watermark, within a transaction; gives what is left for the table.

        Every event that comes later, and is not late, is at or after the watermark.
        """
        passed = () if watermark is None else store.before(self.due_space, moment_key(watermark))
        due = [key for key, _ in passed]
        keys, pieces = self._pieces(self._found(), [key[8:] for key in due], store)
        before = pieces.kept(pieces.is_old).divided(self._timeout)
        sessions = pieces.divided(self._timeout)
        self._keep(store, keys, pieces, sessions, watermark)
        self._keep_dues(store, keys, due, before, sessions.kept(sessions.is_open(watermark)))
        failpoint.reach(Step.SESSIONS_CHANGED)
        return self._left(keys, pieces, sessions, before, watermark)

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
        with store.writing():
            keys, pieces = self._pieces(found, [], store)
            sessions = pieces.divided(self._timeout)
            before = pieces.kept(pieces.is_old).divided(self._timeout)
            self._keep(store, keys, pieces, sessions, None)
            self._keep_dues(store, keys, [], before, sessions)
        yield found.num_rows

    def _pieces(self, rows: pa.Table, due: Sequence[bytes], store: Store) -> tuple[_Keys, Pieces]:
        """The keys of new events and of places that are due, with all pieces that they have."""
        came = packed(rows, "place_high", "place_low")
        places = sorted({*came, *due})
        number = {place: n for n, place in enumerate(places)}
        owner = np.fromiter(map(number.__getitem__, came), np.int64, len(came))
        stored = store.get(self.space, places)
        texts = [""] * len(places)
        for n, key in zip(owner.tolist(), rows["key"].to_pylist(), strict=True):
            texts[n] = key
        columns = rows.drop_columns(["key", "place_high", "place_low"])
        new = np.stack([column.to_numpy() for column in columns.columns], axis=1)
        owners = [number[place] for place in stored]
        old_owner, old = unpacked(owners, stored.values(), len(self.session.counts))
        for n, value in zip(owners, stored.values(), strict=True):
            texts[n] = texts[n] or key_of(value)
        is_old = np.repeat([True, False], [len(old_owner), len(owner)])
        pieces = Pieces.ordered(
            np.concatenate([old_owner, owner]), np.concatenate([old, new]), is_old
        )
        return _Keys(places, texts), pieces

    def _keep(
        self, store: Store, keys: _Keys, pieces: Pieces, sessions: Sessions, watermark: int | None
    ) -> None:
        """Replace what the store holds of these keys by what is not final."""
        which = sessions.is_open(watermark)
        left = pieces.kept(sessions.of_pieces(which)).joined(
            sessions.begins[sessions.of_pieces(which)], watermark
        )
        held = [(keys.places[n], value) for n, value in left.packed(keys.texts)]
        stays = {place for place, _ in held}
        store.remove(self.space, (place for place in keys.places if place not in stays))
        store.put(self.space, held)

    def _keep_dues(
        self, store: Store, keys: _Keys, due: Sequence[bytes], before: Sessions, now: Sessions
    ) -> None:
        """Give a moment to keys that have none, or a later one than their first session needs."""
        store.remove(self.due_space, due)
        looked_at = {key[8:] for key in due}
        has_none = np.fromiter((place in looked_at for place in keys.places), np.bool_)
        was, needed = (sessions.first_dues(len(keys.places)) for sessions in (before, now))
        which = np.flatnonzero((needed < NEVER) & (has_none | (needed < was)))
        words = np.empty((len(which), 3), ">u8")
        words[:, 0] = needed[which].view(np.uint64) ^ np.uint64(1 << 63)
        words[:, 1:] = np.frombuffer(b"".join(keys.places), ">u8").reshape(-1, 2)[which]
        dues = sorted(words.view("V24").ravel().tolist())
        store.put(self.due_space, ((key, b"") for key in dues))

    def _left(
        self, keys: _Keys, pieces: Pieces, sessions: Sessions, before: Sessions,
        watermark: int | None,
    ) -> pa.Table:  # fmt: skip
        """The rows that are left for the table: the sessions, and starts that are gone."""
        first = pieces.kept(pieces.is_old).numbers[before.begins, 0]
        now = sessions.of_pieces(sessions.start)[pieces.is_old][before.begins]
        is_gone = first != now
        return pa.concat_tables([
            self._table(keys, before.owner[is_gone], first[is_gone], {GONE: True}),
            self._table(keys, sessions.owner, sessions.start, self._said(sessions, watermark)),
        ])  # fmt: skip

    def _said(self, sessions: Sessions, watermark: int | None) -> dict[str, Any]:
        """What the table says of sessions, besides their key and start."""
        moment = np.iinfo(np.int64).min if watermark is None else watermark
        is_over = sessions.is_followed | (sessions.end + self._timeout < moment)
        ended = np.where(sessions.closes, 0, np.where(is_over, 1, 2))
        return {
            "session_end": sessions.end,
            "duration_seconds": _thousandths((sessions.end - sessions.start) // 1000),
            **dict(zip(self.session.counts, sessions.counts.T, strict=True)),
            "ended": pa.array(_ENDED).take(pa.array(ended)),
            FINAL: sessions.due < moment,
            GONE: False,
        }

    def _table(self, keys: _Keys, owner: Words, start: Words, said: Mapping[str, Any]) -> pa.Table:
        """Rows in the table's columns, with the date of their start; what is not said is null."""
        key = pa.array(keys.texts, pa.string()).take(pa.array(owner))
        moment = pa.array(start).cast(self._schema.field("session_start").type)
        known = {
            self.session.key: key, "session_start": moment,
            DATE: moment.cast(pa.date32(), safe=False), **said,
        }  # fmt: skip
        return pa.table(
            [_column(known.get(field.name), field.type, len(owner)) for field in self._schema],
            schema=self._schema,
        )


@dataclass(frozen=True)
class _Keys:
    """The keys that a batch touches: where each is stored, and its text."""

    places: list[bytes]
    texts: list[str]


def _column(values: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if values is None or isinstance(values, bool):
        return pa.repeat(pa.scalar(values, kind), rows)
    return values if isinstance(values, pa.Array) else pa.array(values).cast(kind)


def _thousandths(values: Words) -> pa.Array:
    """Whole numbers of thousandths as decimals."""
    words = np.stack([values, values >> 63], axis=1)  # of 128 bits, the lower half first
    kind = pa.decimal128(18, 3)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(words.tobytes())])
