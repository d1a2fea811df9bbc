"""Distinct keys: which keys of a finer table were seen, and the other keys of the same entity."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.model.flow import Finer
from lakehouse.silver.keys import from_text_values, hash_key, packed, text_values
from lakehouse.silver.render import finer_sql
from lakehouse.silver.store import Store
from lakehouse.storage.duck import BY_NAME, reads
from lakehouse.storage.prepared import Prepared, Source

_WIDTH = 8
_MANY = 200_000
"""Rows of a table that are loaded into the store in one transaction."""


def text_schema(keys: Iterable[str]) -> pa.Schema:
    """The Arrow schema of a finer table's keys: text, and truncated times."""
    time = pa.timestamp("us", "UTC")
    return pa.schema(
        [pa.field(n, time if n == "event_time" else pa.string(), nullable=False) for n in keys]
    )


class DistinctState:
    """The distinct keys of one finer table, in a space of the store.

    The first key of an entity is stored under 64 bits of the entity's hash; its value holds 64
    bits of the key's own hash. Further keys, which few entities have, are stored under both
    hashes, and so sort right after the first. Entities whose hashes collide share a place, and
    SQL tells them apart.
    """

    def __init__(self, finer: Finer, connection: duckdb.DuckDBPyConnection, rows: Source) -> None:
        self.finer, self._connection = finer, connection.cursor()
        self.space = f"distinct {finer.name}"
        self.schema = text_schema(finer.keys)
        sides = ("single", "new", "prior")
        self.gained = {f"{side}_{finer.name}": self.schema for side in sides}
        self._prior = Source(pa.schema([("value", pa.string())]))
        self._found = Prepared(connection, self._hashed(finer_sql(finer)), {"rows": rows})
        kinds = [(f.name, "TIMESTAMPTZ" if f.name == "event_time" else "VARCHAR")
                 for f in self.schema]  # fmt: skip
        parsed = f"SELECT {from_text_values(kinds, 'value')} FROM prior"
        self._parsed = Prepared(connection, parsed, {"prior": self._prior})

    def find(self) -> pa.Table:
        """The distinct keys of the current rows, with their places in the space."""
        return self._found()

    def absorb(self, found: pa.Table, store: Store) -> tuple[dict[str, pa.Table], pa.Table]:
        """Store what :meth:`find` found; gives the tables below, and the new rows.

        ``single_<name>`` has the keys of entities that had none and now have exactly one,
        ``new_<name>`` the other new keys, ``prior_<name>`` the known keys of the same entities.
        """
        entities, keys = packed(found, "entity"), packed(found, "key")
        firsts = store.get(self.space, entities)
        further = [
            entity + key
            for entity, key in zip(entities, keys, strict=True)
            if entity in firsts and firsts[entity][:_WIDTH] != key
        ]
        known = store.get(self.space, further) if further else {}
        is_new = [
            entity not in firsts or (firsts[entity][:_WIDTH] != key and entity + key not in known)
            for entity, key in zip(entities, keys, strict=True)
        ]
        found = found.filter(pa.array(is_new, pa.bool_()))
        repeated = [e for e, new in zip(entities, is_new, strict=True) if new and e in firsts]
        texts = [
            value[_WIDTH:] if len(place) == _WIDTH else value
            for place, value in store.under(self.space, repeated)
        ]
        prior = self.schema.empty_table()
        if texts:
            self._prior.put(pa.table({"value": pa.array(texts, pa.binary()).cast(pa.string())}))
            prior = self._parsed().cast(self.schema)
            self._prior.clear()
        self._put(store, found, firsts)
        new, name = found.select(self.schema.names).cast(self.schema), self.finer.name
        single = pa.array(_singles(found, {*repeated}))
        gained = {
            f"single_{name}": new.filter(single),
            f"new_{name}": new.filter(pc.invert(single)),
            f"prior_{name}": prior,
        }
        return gained, new

    def load(self, files: list[str], store: Store) -> Iterator[int]:
        """Load a table's rows, in transactions of their own; yields the rows of each."""
        hashed = self._connection.cursor().sql(self._hashed(f"FROM {reads(files, BY_NAME)}"))
        for batch in hashed.to_arrow_reader(_MANY):
            rows = pa.Table.from_batches([batch])
            with store.writing():
                self._put(store, rows, store.get(self.space, packed(rows, "entity")))
            yield rows.num_rows

    def _put(self, store: Store, rows: pa.Table, firsts: Collection[bytes]) -> None:
        """Put new rows; ``firsts`` are the entities that already have a first key."""
        entities, keys = packed(rows, "entity"), packed(rows, "key")
        values = rows["value"].cast(pa.binary()).to_pylist()
        pairs = [
            (entity, key + value) if is_first and entity not in firsts else (entity + key, value)
            for entity, key, value, is_first in zip(
                entities, keys, values, _differs(rows)[:-1].tolist(), strict=True
            )
        ]
        store.put(self.space, pairs)

    def _hashed(self, rows: str) -> str:
        """A query's rows, with their places and values in the space."""
        keys = list(self.finer.keys)
        return (
            f"SELECT *, hash({hash_key([self.finer.entity])}) AS entity, "
            f"hash({hash_key(keys)}) AS key, {text_values(keys)} AS value FROM ({rows}) "
            "ORDER BY entity, key"
        )


def _differs(rows: pa.Table) -> npt.NDArray[np.bool_]:
    """For each row, in order of entities, whether a new entity begins there; True at the end."""
    hashes = rows["entity"].to_numpy()
    if not len(hashes):
        return np.ones(1, np.bool_)
    return np.concatenate([[True], hashes[1:] != hashes[:-1], [True]])


def _singles(rows: pa.Table, repeated: Collection[bytes]) -> npt.NDArray[np.bool_]:
    """Which rows, in order of entities, are the only one of an entity that is not ``repeated``."""
    differs = _differs(rows)
    alone: npt.NDArray[np.bool_] = differs[1:] & differs[:-1]
    if repeated:
        entities = packed(rows, "entity")
        alone &= np.fromiter((e not in repeated for e in entities), np.bool_, len(entities))
    return alone
