"""What identifies a row of a declared table, and which flow and declaration the table is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lakehouse.model.flow import Aggregate, Favourite, Finer, Keyed, SilverFlow
from lakehouse.model.window import Session
from lakehouse.products.registry import contracts, flows

ADDRESS = ("topic", "partition", "offset")
"""Of a Kafka record, as bronze and quarantine have it."""
HISTORY_START = "started_at"
"""Of a run of changes in a table of history."""


@dataclass(frozen=True)
class FavouriteTable:
    """The finer table that an aggregate's favourite is chosen from."""

    aggregate: Aggregate
    favourite: Favourite


@dataclass(frozen=True)
class KeyedTable:
    """``current`` or ``history`` of a flow with a latest by key."""

    keyed: Keyed
    is_history: bool


Declared = Aggregate | Finer | FavouriteTable | KeyedTable | Session


def declarations(flow: SilverFlow) -> Iterator[tuple[str, Declared]]:
    """Each table of a flow, and what declares it."""
    for aggregate in flow.aggregates:
        yield flow.table(aggregate.name), aggregate
        for favourite in (aggregate.favourite or {}).values():
            yield flow.table(favourite.finer), FavouriteTable(aggregate, favourite)
    for finer in flow.finers:
        yield flow.table(finer.name), finer
    for session in flow.sessions:
        yield flow.table(session.name), session
    if flow.keyed:
        yield flow.table(flow.keyed.current), KeyedTable(flow.keyed, is_history=False)
        yield flow.table(flow.keyed.history), KeyedTable(flow.keyed, is_history=True)


def declared(table: str) -> tuple[SilverFlow, Declared] | None:
    """The flow and the declaration of a silver table; None of one that no product declares."""
    for flow in flows():
        if isinstance(flow, SilverFlow):
            found = dict(declarations(flow)).get(table)
            if found is not None:
                return flow, found
    return None


def key_columns(table: str) -> tuple[str, ...]:
    """The columns that tell a table's rows apart; empty where nobody declares any."""
    layer, _, name = table.partition(".")
    if name in contracts():
        if layer in {"bronze", "quarantine"}:
            return (*ADDRESS, "batch_id")
        if layer == "ledger":
            return ("batch_id",)
    found = declared(table)
    return tuple(keys_of(found[1])) if found else ()


def keys_of(declaration: Declared) -> Mapping[str, str]:
    """Key → its expression over the rows that the table is made from; empty where none tells it."""
    if isinstance(declaration, Aggregate):
        return {name: sql for name, (sql, _) in declaration.keys.items()}
    if isinstance(declaration, Finer):
        return declaration.keys
    if isinstance(declaration, FavouriteTable):
        chosen = declaration.favourite.of
        return {n: sql for n, (sql, _) in declaration.aggregate.keys.items()} | {chosen: chosen}
    if isinstance(declaration, Session):
        return {declaration.key: declaration.key, "session_start": ""}
    keyed = declaration.keyed
    keys = {keyed.key: keyed.columns[keyed.key][0]}
    return keys | ({HISTORY_START: "", keyed.follows: ""} if declaration.is_history else {})


def keyed_columns(table: KeyedTable) -> tuple[str, ...]:
    """The columns that changes of bronze have too: of history it is the one that it follows."""
    return (table.keyed.follows,) if table.is_history else tuple(table.keyed.columns)
