"""The fast path of decoding: records that look like earlier ones are proved, not parsed.

A shape is what records of one habit have in common: all of their bytes but those of values.
It is learned from a record that the strict decoder took, and knows that record's order of
fields, spaces and nulls. A record is proved against it where

- it holds no backslash, no control character and nothing but UTF-8,
- it has the shape's quotes and no more, so that each text ends at the next one, and
- every byte between its values is the shape's, from its first to its last.

Then it is a JSON object of known fields, each once. Its values are held against the contract:
texts by their length and their list, numbers and times by what a regular expression takes.
What is not proved goes to the strict decoder, which alone says what is wrong with a record.

Worked example. ``{"id":"a","n":7}`` teaches the literals ``{"id":"`` and ``","n":`` and ``}``
around a text and a number. ``{"id":"b","n":12}`` is proved; ``{"n":7,"id":"a"}`` has another
shape, and teaches it; ``{"id":"a\\n","n":7}`` is parsed. Where ``n`` may be null, its null is
proved in the place of a number.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.ingest.blocks import WORD, Block, Flags, Literal, Places, Scratch
from lakehouse.ingest.judged import Judged, in_time, judges
from lakehouse.ingest.verdict import TimeRules
from lakehouse.model.contract import Contract

_FIELD = re.compile(
    rb'[ \t]*"([^"\\]*)"[ \t]*:[ \t]*(?:"([^"\\]*)"|(-?[0-9][0-9.eE+-]*)|null)[ \t]*([,}])'
)
_OPEN = re.compile(rb"[ \t]*\{")
_KNOWN, _SAMPLES = 16, 16
"""Shapes that are kept, and records of a batch that may teach one."""
_LEAST, _LARGE = 64, 65_536
"""Fewer rows are parsed sooner than they are proved; larger records teach nothing."""
_RARE, _PAUSE = 4, 16
"""Where less than a quarter of a batch is proved, so many batches are not tried."""


@dataclass(frozen=True)
class Proved:
    """Which rows are proved, and the columns of the event; rows that are not hold anything."""

    rows: Flags
    columns: Mapping[str, pa.Array]


@dataclass
class _Shape:
    """The bytes around the values, and the numbers of the fields that these are, in order."""

    literals: list[Literal]
    fields: list[int]
    is_quoted: list[bool]
    hits: int = 0

    @property
    def quotes(self) -> int:
        return sum(literal.quotes for literal in self.literals)

    def match(
        self, block: Block, rows: Places | slice
    ) -> tuple[Flags, list[tuple[Places, Places]]]:
        """Which of the rows have this shape, and from where to where each of their values is.

        Of rows that have another number of quotes it says anything.
        """
        place, quote, stop = block.start[rows], block.first[rows], block.end[rows]
        good, spans = np.ones(len(place), bool), []
        following = self.literals[1:]
        for literal, after, is_quoted in zip(
            self.literals, following, self.is_quoted, strict=False
        ):
            good &= literal.at(block.data, place)
            begin, quote = place + literal.size, quote + literal.quotes
            if is_quoted:
                place = block.quotes.take(quote, mode="clip")
            elif after.quotes:
                place = block.quotes.take(quote, mode="clip") - after.before
            else:
                place = stop - after.size
            good &= begin <= place
            spans.append((begin, place))
        last = self.literals[-1]
        good &= last.at(block.data, place)
        good &= place + last.size == stop
        return good, spans


def _learned(record: bytes, numbers: Mapping[str, int], fields: list[Judged]) -> _Shape | None:
    """A record that the strict decoder took, as a shape; None where it proves nothing of others."""
    opened = _OPEN.match(record)
    if opened is None or len(record) > _LARGE:
        return None
    at, since = opened.end(), 0
    literals, found, names = [], [], set()
    while (pair := _FIELD.match(record, at)) is not None:
        name = pair[1].decode()
        if name in names or name not in numbers:
            return None
        names.add(name)
        group = 2 if pair[2] is not None else 3 if pair[3] is not None else 0
        if group:
            if fields[numbers[name]].is_quoted != (group == 2):
                return None
            literals.append(Literal(record[since : pair.start(group)]))
            found.append(numbers[name])
            since = pair.end(group)
        at = pair.end()
        if pair[4] == b"}":
            literals.append(Literal(record[since:]))
            is_quoted = [fields[number].is_quoted for number in found]
            is_whole = found and not record[at:].strip(b" \t")
            return _Shape(literals, found, is_quoted) if is_whole else None
    return None


class Shapes:
    """The shapes of one kind of event, learned from what comes; for one thread."""

    def __init__(self, contract: Contract) -> None:
        self._fields = judges(contract)
        self._numbers = {field.name: n for n, field in enumerate(self._fields)}
        self._known: list[_Shape] = []
        self._scratch = Scratch()
        self._pad, self._pause = 2 * WORD, 0

    def prove(self, values: pa.Array, kafka_time: pa.Array, rules: TimeRules) -> Proved | None:
        """The rows that have a known shape and keep the contract; None where it was not tried."""
        rows = len(values)
        if not self._known or rows < _LEAST or not pa.types.is_binary(values.type):
            return None
        if self._pause:
            self._pause -= 1
            return None
        block = Block(values, self._scratch, self._pad)
        found, begin, end, has = self._matched(block)
        columns, data = {}, pa.py_buffer(block.data)
        for number, field in enumerate(self._fields):
            texts = _texts(data, begin[number], end[number], has[number])
            columns[field.name], fits = field.judge(texts)
            if field.may_lack and not (field.is_quoted or fits.all()):
                told = pc.fill_null(pc.not_equal(texts, "null"), False)
                has[number] &= told.to_numpy(zero_copy_only=False)
            found &= fits | (~has[number] & field.may_lack)
        found &= in_time(columns["event_time"], kafka_time, rules)
        if _RARE * np.count_nonzero(found) < rows:
            self._pause = _PAUSE
        return Proved(found, columns)

    def _matched(self, block: Block) -> tuple[Flags, Places, Places, Flags]:
        """Which rows have a shape; and by field and row, where its value is and if there is one."""
        total, fields = len(block.start), len(self._fields)
        found = np.zeros(total, bool)
        begin = np.repeat(block.start[None, :], fields, 0)
        end, has = begin.copy(), np.zeros((fields, total), bool)
        for shape in self._known:
            alike = (block.count == shape.quotes) & block.is_plain & ~found
            rows = np.flatnonzero(alike)
            is_most = 2 * len(rows) > total  # to look at all takes less time than to choose
            good, spans = shape.match(block, slice(None) if is_most else rows)
            mine = np.flatnonzero(good & alike) if is_most else rows[good]
            shape.hits = shape.hits // 2 + len(mine)
            found[mine] = True
            for number, span in zip(shape.fields, spans, strict=True):
                for place, told in zip((begin, end), span, strict=True):
                    place[number, mine] = told[mine] if is_most else told[good]
                has[number, mine] = True
        self._known.sort(key=lambda shape: -shape.hits)
        return found, begin, end, has

    def learn(self, records: Iterable[bytes]) -> None:
        """Take the shapes of records that the strict decoder took; the least seen go for them."""
        if not self._fields or self._pause:
            return
        for record in records:
            shape = _learned(record, self._numbers, self._fields)
            told = [literal.told for literal in shape.literals] if shape else []
            if shape and all([one.told for one in k.literals] != told for k in self._known):
                self._known = [*self._known[: _KNOWN - 1], shape]
                self._pad = max(self._pad, *(len(one) + 2 * WORD for one in told))


def _texts(data: pa.Buffer, begin: Places, end: Places, has: Flags) -> pa.Array:
    """The values of a field as texts of their own: no Python object is made of one."""
    rows = len(begin)
    ends = np.empty(2 * rows, np.int32)
    ends[0::2], ends[1::2] = begin, end
    pieces = pa.Array.from_buffers(pa.string(), 2 * rows - 1, [None, pa.py_buffer(ends), data])
    even = np.arange(0, 2 * rows, 2, dtype=np.int32)
    return pieces.take(pa.array(even, mask=None if has.all() else ~has))


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.known: dict[type[msgspec.Struct], Shapes] = {}


_OF_THREAD = _OfThread()


def shapes(contract: Contract) -> Shapes:
    """What this thread has learned of an event's records."""
    known = _OF_THREAD.known
    if contract.event not in known:
        known[contract.event] = Shapes(contract)
    return known[contract.event]


def samples(rows: list[int]) -> list[int]:
    """Some of the rows, from first to last, that teach; an odd step, as habits may alternate."""
    return rows[:: max(1, len(rows) // _SAMPLES) | 1]
