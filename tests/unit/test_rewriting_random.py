"""Deletes and marks give the rows that delta-rs's own delete and merge give, on random tables."""

import random
import shutil
from datetime import date, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from lakehouse.storage.checksums import corrupt_files
from lakehouse.storage.file_paths import files_of
from lakehouse.storage.table import Table
from tests.conftest import settings_at

SCHEMA = pa.schema(
    [
        pa.field("n", pa.int64()),
        pa.field("word", pa.string()),
        pa.field("price", pa.decimal128(18, 4)),
        pa.field("at", pa.timestamp("us", "UTC")),
        pa.field("is_late", pa.bool_()),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("day", pa.date32()),
        pa.field("place", pa.string()),
        pa.field("block", pa.int32()),
    ]
)
WORDS = ["", "a", "b c", "ü'", "x" * 70, "100%", None]
PLACES = ["Wien", "a b", "50%/=", "ü", None]
DAYS = [date(2024, 2, 28) + timedelta(days=n) for n in range(3)]
PARTITIONS = [[], ["day"], ["place"], ["block"], ["day", "place"]]


def some_rows(chance, count):
    pick = chance.choice
    return pa.Table.from_pylist(
        [
            {
                "n": pick([None, *range(12)]), "word": pick(WORDS),
                "price": pick([None, Decimal("1.5"), Decimal("-0.0001"), Decimal(10**12)]),
                "at": pick([None, *(n * 1_000_003 for n in range(4))]),
                "is_late": pick([True, False, None]), "tags": pick([None, [], ["x", None]]),
                "day": pick([None, *DAYS]), "place": pick(PLACES), "block": pick([None, 0, 7]),
            }
            for _ in range(count)
        ],
        SCHEMA,
    )  # fmt: skip


def literal(value):
    return "'" + value.replace("'", "''") + "'"


def condition(chance, depth=0):
    """SQL that both engines read in the same way."""
    if depth < 2 and chance.random() < 0.6:
        one, other = condition(chance, depth + 1), condition(chance, depth + 1)
        return chance.choice([f"({one} AND {other})", f"({one} OR {other})", f"NOT ({one})"])
    some = [chance.randrange(-1, 13) for _ in range(3)]
    return chance.choice(
        [
            f"n {chance.choice(['=', '<', '>=', '<>'])} {some[0]}",
            f"n IN ({', '.join(map(str, some))})",
            f'"{chance.choice(SCHEMA.names).replace("tags", "n")}" IS NULL',  # it knows no lists
            f"word = {literal(chance.choice(WORDS[:-1]))}",
            f"place = {literal(chance.choice(PLACES[:-1]))}",
            f"day {chance.choice(['=', '<'])} DATE '{chance.choice(DAYS)}'",
            f"block = {chance.choice([0, 1, 7])}",
            "is_late",
            "coalesce(n, 3) = 3",
            f"price > {chance.choice(['0', '1.5', '-1'])}",
        ]
    )


def made(tmp_path, chance):
    """A random table, and a copy of it."""
    settings = settings_at(tmp_path / "lake")
    table = Table.open(
        str(tmp_path / "lake" / "bronze" / "ours"), SCHEMA, settings,
        partition_by=chance.choice(PARTITIONS), fingerprinted=chance.random() < 0.5,
    )  # fmt: skip
    for _ in range(chance.randrange(4)):
        table.append(some_rows(chance, chance.randrange(25)), {})
    copy = tmp_path / "theirs"
    shutil.copytree(table.uri, copy)
    return table, DeltaTable(copy)


def listed(uri):
    found = DeltaTable(uri).to_pyarrow_dataset().to_table().select(SCHEMA.names)
    return sorted(map(repr, found.to_pylist()))


SEEDS = [*range(12), *(pytest.param(n, marks=pytest.mark.long) for n in range(12, 300))]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_delete_leaves_what_delta_rs_leaves(tmp_path, seed):
    chance = random.Random(seed)
    ours, theirs = made(tmp_path, chance)
    for _ in range(2):
        which, before = condition(chance), ours.version
        ours.delete(which, {})
        told = theirs.delete(which)
        assert listed(ours.uri) == listed(theirs.table_uri), which
        assert (ours.version > before) == (told["num_deleted_rows"] > 0), which
    assert list(corrupt_files(files_of(DeltaTable(ours.uri)))) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_marks_are_set_as_a_merge_of_delta_rs_sets_them(tmp_path, seed):
    chance = random.Random(seed)
    ours, theirs = made(tmp_path, chance)
    keys = chance.choice([["n"], ["n", "word"], ["n", "day"]])
    found = some_rows(chance, 12).select([*keys, "price", "at", "is_late", "tags"])
    found = pa.Table.from_pylist(
        [*{tuple(row[key] for key in keys): row for row in found.to_pylist()}.values()],
        found.schema,
    )
    where = "t.place IS NULL OR t.block = 7" if seed % 2 else "true"
    ours.mark(found, keys, where, {})
    same = " AND ".join(f"t.{key} = s.{key}" for key in keys)
    merger = theirs.merge(found, f"{same} AND ({where})", source_alias="s", target_alias="t")
    columns = {name: f"s.{name}" for name in found.schema.names if name not in keys}
    merger.when_matched_update(columns).execute()
    assert listed(ours.uri) == listed(theirs.table_uri)
