"""HyperLogLog sketches: their error, and that they are a function of the set of texts."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.silver.sketch import (
    ERROR,
    _counts,
    _sketches_of,
    _unions,
    estimate,
    hashes,
    with_sketches,
)
from lakehouse.storage.duck import Limits, opened


def sketch(texts):
    return _sketches_of(pa.array([texts], pa.list_(pa.string())))[0].as_py()


def united(*sketches):
    return _unions(pa.array([sketches], pa.list_(pa.binary())))[0].as_py()


def test_the_hash_is_murmur3():
    """The reference's own vectors, of the seed that sketches use."""
    low, high = hashes(pa.array(["", "a", "The quick brown fox jumps over the lazy dog", "é" * 40]))
    known = [plain_murmur(v.encode()) for v in
             ["", "a", "The quick brown fox jumps over the lazy dog", "é" * 40]]  # fmt: skip
    assert [*zip(low.tolist(), high.tolist(), strict=True)] == known


@given(st.lists(st.text(max_size=50), max_size=30))
def test_hashes_are_those_of_the_plain_algorithm(texts):
    low, high = hashes(pa.array(texts, pa.string()))
    pairs = [*zip(low.tolist(), high.tolist(), strict=True)]
    assert pairs == [plain_murmur(text.encode()) for text in texts]


def test_a_count_is_within_the_error_that_is_stated():
    off = []
    for size in (0, 1, 2, 10, 100, 1_000, 5_000, 10_000, 20_000, 100_000):
        for run in range(4):
            found = estimate(sketch([f"{run} user {n}" for n in range(size)]))
            off.append(abs(found - size) / max(size, 1))
    assert off[:16] == [0.0] * 16
    assert max(off) < 4 * ERROR
    assert np.sqrt(np.mean(np.square(off[20:]))) < 1.3 * ERROR


@given(st.lists(st.text(max_size=5), max_size=60), st.integers(0, 60), st.randoms())
def test_it_is_a_function_of_the_set(texts, cut, dice):
    shuffled = dice.sample(texts, len(texts))
    parts = united(sketch(shuffled[:cut]), sketch(shuffled[cut:]), sketch(texts[:3]))
    assert parts == sketch(texts) == sketch([*texts, *texts])


def test_sql_has_them():
    with opened(Limits("256MB")) as connection:
        with_sketches(connection)
        with_sketches(connection)
        found = connection.execute(
            "SELECT sketch_count(sketch_union(list(s))), sketch_count(NULL) FROM ("
            "SELECT sketch_of(list(DISTINCT n % 700 || '')) AS s FROM range(1000) AS r(n) "
            "GROUP BY n // 100)"
        ).fetchall()
    assert abs(found[0][0] - 700) < 700 * 3 * ERROR
    assert found[0][1] is None
    assert _counts(pa.array([None], pa.binary())).to_pylist() == [None]


def plain_murmur(data, seed=9001):
    """MurmurHash3_x64_128 as its author wrote it."""
    mask = (1 << 64) - 1
    c1, c2 = 0x87C37B91114253D5, 0x4CF5AD432745937F

    def turned(x, r):
        return ((x << r) | (x >> (64 - r))) & mask

    def mixed(k):
        k = ((k ^ (k >> 33)) * 0xFF51AFD7ED558CCD) & mask
        k = ((k ^ (k >> 33)) * 0xC4CEB9FE1A85EC53) & mask
        return k ^ (k >> 33)

    h1 = h2 = seed
    for at in range(0, len(data) // 16 * 16, 16):
        k1, k2 = (int.from_bytes(data[at + 8 * n : at + 8 * n + 8], "little") for n in (0, 1))
        h1 ^= (turned((k1 * c1) & mask, 31) * c2) & mask
        h1 = (((turned(h1, 27) + h2) & mask) * 5 + 0x52DCE729) & mask
        h2 ^= (turned((k2 * c2) & mask, 33) * c1) & mask
        h2 = (((turned(h2, 31) + h1) & mask) * 5 + 0x38495AB5) & mask
    tail = data[len(data) // 16 * 16 :]
    if len(tail) > 8:
        h2 ^= (turned((int.from_bytes(tail[8:], "little") * c2) & mask, 33) * c1) & mask
    if tail:
        h1 ^= (turned((int.from_bytes(tail[:8], "little") * c1) & mask, 31) * c2) & mask
    h1, h2 = h1 ^ len(data), h2 ^ len(data)
    h1 = (h1 + h2) & mask
    h2 = (h2 + h1) & mask
    h1, h2 = mixed(h1), mixed(h2)
    h1 = (h1 + h2) & mask
    return h1, (h2 + h1) & mask
