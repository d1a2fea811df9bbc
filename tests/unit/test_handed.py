"""What folds leave is handed on without gaps, and within bounds."""

import pyarrow as pa

from lakehouse.silver.fold import PLACE, _of_keys
from lakehouse.silver.handed import _LEAST, _MOST, Handed, Piece
from lakehouse.silver.latest import GONE
from lakehouse.storage.follower import Applied

KEY = ("who",)


def piece(after, version, *names):
    rows = pa.table({"who": pa.array(names, pa.string())})
    return Piece(KEY, after, Applied("b", version), rows)


def test_a_sink_gets_all_that_came_since_its_version_or_nothing():
    handed = Handed(["silver.a"] * 2)
    for one in (piece(3, 4, "x"), piece(4, 6), piece(6, 7, "y", "x")):
        handed.put("silver.a", one)
        handed.put("silver.unwanted", one)
    found = handed.after("silver.a", Applied("b", 3), "one")
    assert (found.after, found.applied.version) == (3, 7)
    assert found.rows.to_pylist() == [
        {"who": "x", PLACE: 0}, {"who": "y", PLACE: 2}, {"who": "x", PLACE: 2},
    ]  # fmt: skip
    assert handed.after("silver.a", Applied("b", 5), "one").rows["who"].to_pylist() == ["y", "x"]
    for held in (Applied("b", 2), Applied("b", 7), Applied("other", 3)):
        assert handed.after("silver.a", held, "one") is None
    assert handed.after("silver.unwanted", Applied("b", 3), "one") is None
    handed.put("silver.a", piece(7, 8))
    assert handed.after("silver.a", Applied("b", 7), "one") is None  # no row came


def test_what_is_kept_is_bounded_and_what_went_leaves_a_gap():
    handed, half = Handed(["silver.a"] * 2), "x" * (_MOST // 2 - 100)
    for version in range(4):
        handed.put("silver.a", piece(version - 1, version, half))
    assert handed.after("silver.a", Applied("b", 0), "one") is None
    assert len(handed.after("silver.a", Applied("b", 1), "one").rows) == 2
    handed.put("silver.a", piece(3, 4, half, half, half))
    assert handed.after("silver.a", Applied("b", 3), "one") is None
    handed.put("silver.a", piece(4, 5, "z"))
    assert handed.after("silver.a", Applied("b", 4), "one").rows["who"].to_pylist() == ["z"]
    for version in range(5, 6 + _MOST // _LEAST):
        handed.put("silver.a", piece(version, version + 1))
    assert len(handed._pieces["silver.a"]) == _MOST // _LEAST


def test_what_every_sink_has_is_forgotten():
    handed = Handed(["silver.a"] * 2)
    for version in range(3):
        handed.put("silver.a", piece(version - 1, version, "x"))

    def kept(version, sink, bronze="b"):
        handed.after("silver.a", Applied(bronze, version), sink)
        return [one.applied.version for one in handed._pieces["silver.a"]]

    assert kept(2, "one") == [0, 1, 2]  # the other has not asked yet
    assert kept(1, "two") == [2]
    assert kept(7, "two", "other") == [2]
    assert handed.after("silver.a", Applied("b", 0), "two") is None  # it went back
    assert kept(2, "two") == []
    handed.put("silver.a", piece(2, 3, "y"))
    assert handed.after("silver.a", Applied("b", 2), "two").rows["who"].to_pylist() == ["y"]


def test_who_waits_sees_what_came_while_it_did_not():
    handed = Handed(["silver.a"] * 2)
    assert handed.wait(0, 0) == 0
    handed.put("silver.a", piece(0, 1, "x"))
    assert handed.wait(0, 0) == 0
    handed.ring()
    assert handed.wait(0, 60) == 1
    assert handed.wait(1, 0) == 1


def test_what_a_turn_makes_of_the_keys_that_it_touches():
    kinds = pa.schema([pa.field("who", pa.string(), False), pa.field("n", pa.int64(), False)])
    table = pa.table({"who": ["a", "b", "c"], "n": [1, 2, 3]}, schema=kinds)
    new = pa.table({"more": [0, 0, 0], "who": ["c", "x", "c"]})
    found = _of_keys(table, new, ["who"])
    assert found.to_pylist() == [
        {"who": "c", "n": 3, GONE: False}, {"who": "x", "n": None, GONE: True},
    ]  # fmt: skip
    none = _of_keys(table[:0], new[:0], ["who"])
    assert (none.num_rows, none.schema) == (0, found.schema)
