"""Distinct keys: which keys of a finer table were seen, and with which others of their entity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import duckdb
import pyarrow as pa

from lakehouse.model.flow import Finer
from lakehouse.silver.keys import from_text_values, hash_key, packed, text_values
from lakehouse.silver.render import finer_sql
from lakehouse.silver.store import Store
from lakehouse.storage.duck import Prepared, Source, reads

_MANY = 200_000
"""Rows of a table that are taken into the store in one transaction."""


def text_schema(keys: Iterable[str]) -> pa.Schema:
    """The Arrow schema of a finer table's keys: text, and truncated time."""
    time = pa.timestamp("us", "UTC")
    return pa.schema(
        [pa.field(n, time if n == "event_time" else pa.string(), nullable=False) for n in keys]
    )


class DistinctState:
    """The distinct keys of one finer table, in a space of the store.

    A key of the space is 64 bits of the entity's hash and 64 of the whole key's, so that
    an entity's keys are side by side. ``connection`` is its own, and reads ``rows``.
    """

    def __init__(self, finer: Finer, connection: duckdb.DuckDBPyConnection) -> None:
        self.finer, self._connection = finer, connection
        self.space = f"distinct {finer.name}"
        self.schema = text_schema(finer.keys)
        self.gained = {f"{side}_{finer.name}": self.schema for side in ("new", "prior")}
        self._prior = Source(pa.schema([("value", pa.string())]))
        connection.register("prior", self._prior)
        self._found = Prepared(connection, self._hashed(finer_sql(finer)))
        kinds = [(f.name, "TIMESTAMPTZ" if f.name == "event_time" else "VARCHAR")
                 for f in self.schema]  # fmt: skip
        self._parsed = Prepared(connection, f"SELECT {from_text_values(kinds, 'value')} FROM prior")

    def find(self) -> pa.Table:
        """The distinct keys of the rows at hand, with their places in the space."""
        return self._found()

    def absorb(self, found: pa.Table, store: Store) -> tuple[dict[str, pa.Table], pa.Table]:
        """Take in what was found: the tables ``new_<name>`` and ``prior_<name>``; and the new rows.

        ``new`` are the keys not known before; ``prior`` the keys known already of
        the same entities.
        """
        places = packed(found, "entity", "key")
        known = store.get(self.space, places)
        if known:
            is_new = [place not in known for place in places]
            found = found.filter(pa.array(is_new, pa.bool_()))
            places = [place for place in places if place not in known]
        texts = [value for _, value in store.under(self.space, (p[:8] for p in places))]
        prior = self.schema.empty_table()
        if texts:
            self._prior.put(pa.table({"value": pa.array(texts, pa.binary()).cast(pa.string())}))
            prior = self._parsed().cast(self.schema)
            self._prior.clear()
        self._put(store, places, found)
        new = found.select(self.schema.names).cast(self.schema)
        return {f"new_{self.finer.name}": new, f"prior_{self.finer.name}": prior}, new

    def load(self, files: list[str], store: Store) -> Iterator[int]:
        """Take in a table's rows, in transactions of their own; how many each has taken in."""
        hashed = self._connection.cursor().sql(self._hashed(f"FROM {reads(files)}"))
        for batch in hashed.to_arrow_reader(_MANY):
            rows = pa.Table.from_batches([batch])
            with store.writing():
                self._put(store, packed(rows, "entity", "key"), rows)
            yield rows.num_rows

    def _put(self, store: Store, places: list[bytes], rows: pa.Table) -> None:
        values = rows["value"].cast(pa.binary()).to_pylist()
        store.put(self.space, sorted(zip(places, values, strict=True)))

    def _hashed(self, rows: str) -> str:
        """A query's rows, and their places and values in the space."""
        keys = list(self.finer.keys)
        return (
            f"SELECT *, hash({hash_key([self.finer.entity])}) AS entity, "
            f"hash({hash_key(keys)}) AS key, {text_values(keys)} AS value FROM ({rows})"
        )
