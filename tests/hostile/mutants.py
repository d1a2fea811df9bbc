"""Small changes, drawn by a seed, of what a log, a checkpoint, a manifest or a file says.

A change knows what it changes: a value within the JSON of an action (also where that JSON is text
within JSON), a line, the name of a commit, a column of a checkpoint, a byte of a Parquet footer.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HOME = "../../../home/data.parquet"
ODD: list[Any] = [
    None, True, "", "x", 0, -1, 1, 2**31, 2**63 - 1, 2**63, 10**30, -(2**63), 1e308, 0.5,
    float("nan"), float("inf"), [], {}, [None], {"a": 1}, "a\0b", "a\nfix: b",
    "\x1b[2J\x1b]0;x\x07",
    "\ud800", "'", '"', "\"; COPY (SELECT 1) TO 'ran' --", "../..", HOME,
    HOME.replace("..", "%2e%2e"),
    "/etc/hostname", "file:///etc/hostname", "s3://b/x", "%", "%00", "9" * 5000, "x" * 100_000,
    "1970-01-01", "9999-12-31", "-1", "1e999999999", "[" * 2000, '{"type":"struct","fields":[]}',
]  # fmt: skip
"""What stands in the place of a value."""
TEXTS = ("schemaString", "stats", "userMetadata")
"""Values that are JSON as text."""


def _places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value below this one; into JSON that is text, too."""
    if isinstance(value, str) and way and way[-1] in TEXTS:
        try:
            return [way, *((*way, None, *below) for below in _places(json.loads(value)))]
        except ValueError:
            return [way]
    if not isinstance(value, dict | list):
        return [way]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [way, *(place for key, below in items for place in _places(below, (*way, key)))]


def _at(value: Any, way: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    """The value with a change at a place, given what holds it and its key there."""
    key, *rest = way
    if key is None:  # text that is JSON
        inner = json.loads(value)
        return _dumps(_at(inner, tuple(rest), change) if rest else inner)
    if not rest:
        change(value, key)
    else:
        value[key] = _at(value[key], tuple(rest), change)
    return value


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def value(r: random.Random, text: str) -> str:
    """JSON with one value replaced, taken out, renamed, nested or moved."""
    whole = json.loads(text)
    ways = [way for way in _places(whole) if way and way[-1] is not None]
    if not ways:
        return _dumps(r.choice(ODD))
    kind = r.random()

    def change(holder: Any, key: Any) -> None:
        if kind < 0.6:
            holder[key] = r.choice(ODD)
        elif kind < 0.75:
            del holder[key]
        elif kind < 0.85 and isinstance(holder, dict):
            holder[r.choice([key.upper(), f"{key} ", f"{key}x", ""])] = holder.pop(key)
        elif kind < 0.95:
            holder[key] = r.choice(ODD) if r.random() < 0.3 else [holder[key]]
        else:
            deep: Any = holder[key]
            for _ in range(r.choice([5, 100, 900])):
                deep = [deep]
            holder[key] = deep

    return _dumps(_at(whole, r.choice(ways), change))


def number(r: random.Random, text: str) -> str:
    """JSON with one number written as none of its type can be."""
    found = list(re.finditer(r"(?<=[:\[,])-?\d+(?=[,}\]])", text))
    if not found:
        return text + "\0"
    at = r.choice(found)
    odd = ["9" * 5000, "1e400", "-0", "00", "1.", "NaN", "Infinity", "1E-999999999", "0x1", ""]
    return text[: at.start()] + r.choice(odd) + text[at.end() :]


def broken(r: random.Random, data: bytes) -> bytes:
    """Bytes cut, flipped, doubled, or with others between them."""
    at = r.randrange(len(data) + 1)
    end = min(len(data), at + r.randrange(1, 40))
    ways = [
        data[:at],
        data[:at] + bytes([r.randrange(256)]) + data[at + 1 :],
        data[:at] + data[end:],
        data[:end] + data[at:],
        data[:at] + r.choice([b"\0", b"\xff", b"\n", b"\r\n", b"{}", b"\n{}\n"]) + data[at:],
        b"",
    ]
    return r.choice(ways)


def lines(r: random.Random, text: str) -> str:
    """A log entry with an action changed, lost, doubled, moved, or one more of another entry."""
    rows = text.splitlines()
    at = r.randrange(len(rows)) if rows else 0
    kind = r.random()
    if rows and kind < 0.7:
        rows[at] = (number if r.random() < 0.15 else value)(r, rows[at])
    elif rows and kind < 0.8:
        del rows[at]
    elif rows and kind < 0.88:
        rows.insert(at, rows[at])
    else:
        odd = r.choice(ODD)
        rows.insert(at, r.choice([
            _dumps({"add": {"path": HOME, "partitionValues": {}, "size": 1, "modificationTime": 1,
                            "dataChange": True}}),
            _dumps({"remove": {"path": HOME, "deletionTimestamp": 1, "dataChange": True}}),
            _dumps({"protocol": {"minReaderVersion": odd, "minWriterVersion": odd}}),
            _dumps({"txn": {"appId": odd, "version": odd}}), _dumps(odd), "", "null", "[]",
        ]))  # fmt: skip
    return "".join(f"{row}\n" for row in rows)


def entry(r: random.Random, path: Path) -> None:
    """A commit of a log, changed in what it says, in its bytes or in its name."""
    kind = r.random()
    if kind < 0.9:
        _rewrite(path, _said(r, path, lines) if kind < 0.75 else broken(r, path.read_bytes()))
    else:
        version = r.choice([0, int(path.stem) + 1, int(path.stem) + 2, 2**31, 2**63 - 1, 10**19])
        to = path.with_name(r.choice([f"{version:020}.json", "x.json", "-1.json"]))
        path.rename(to)


def hint(r: random.Random, path: Path) -> None:
    """The pointer to the last checkpoint."""
    _rewrite(path, _said(r, path, value) if r.random() < 0.7 else broken(r, path.read_bytes()))


def _said(r: random.Random, path: Path, change: Callable[[random.Random, str], str]) -> bytes:
    """What a file of JSON says otherwise; its bytes broken where an earlier change broke it."""
    try:
        return change(r, path.read_text("utf-8")).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return broken(r, path.read_bytes())


manifest = hint
"""A backup's manifest is JSON of one value, too."""


def checkpoint(r: random.Random, path: Path) -> None:
    """A checkpoint with other rows, columns or types, or of broken bytes."""
    try:
        rows = pq.read_table(path)
    except (OSError, pa.ArrowException):  # an earlier change broke it
        return parquet(r, path)
    if r.random() < 0.35:
        return parquet(r, path)
    name = r.choice(rows.column_names)
    at = rows.column_names.index(name)
    ways = [
        lambda: rows.drop_columns([name]),
        lambda: rows.rename_columns([f"{n}x" if n == name else n for n in rows.column_names]),
        lambda: rows.set_column(at, name, pa.array(["x"] * len(rows))),
        lambda: rows.set_column(at, name, pa.nulls(len(rows), rows.schema.field(name).type)),
        lambda: rows.slice(0, r.randrange(len(rows) + 1)),
        lambda: pa.concat_tables([rows, rows]),
    ]
    if "add" in rows.column_names:  # an earlier change may have taken it out
        names = [HOME, "/etc/hostname", "x\0y", "", "%2e%2e/x"]
        ways.append(lambda: _paths(rows, r.choice(names)))
    made = r.choice(ways)()
    path.unlink()
    pq.write_table(made.cast(pa.schema([_nullable(field) for field in made.schema])), path)
    return None


def _nullable(field: pa.Field) -> pa.Field:
    """The field where each value may be lacking, as in no checkpoint that is whole."""
    kind = field.type
    if pa.types.is_struct(kind):
        kind = pa.struct([_nullable(kind.field(i)) for i in range(kind.num_fields)])
    return pa.field(field.name, kind, nullable=True)


def _paths(rows: pa.Table, name: str) -> pa.Table:
    """Every file that the checkpoint adds, named otherwise."""
    said = rows["add"].to_pylist()  # no objects where an earlier change made text of them
    adds = [{**add, "path": name} if isinstance(add, dict) else add for add in said]
    field = rows.schema.field("add")
    return rows.set_column(rows.column_names.index("add"), field, pa.array(adds, field.type))


def parquet(r: random.Random, path: Path) -> None:
    """A Parquet file whose footer claims something else, or whose pages are broken."""
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[-8:-4], "little")
    begin = len(data) - 8 - size if 0 < size < len(data) and r.random() < 0.8 else 4
    for _ in range(r.choice([1, 1, 2, 8])):
        at = r.randrange(begin, len(data))
        data[at] = r.choice([0, 0xFF, 0x7F, 0x80, data[at] ^ 1 << r.randrange(8)])
    if r.random() < 0.1:
        data[-8:-4] = r.choice([0, 1, 2**31 - 1, 2**32 - 1]).to_bytes(4, "little")
    _rewrite(path, bytes(data))


def _rewrite(path: Path, data: bytes) -> None:
    """A new file: the old one may be a hard link of others."""
    path.unlink()
    path.write_bytes(data)
