"""Values as a contract has them, judged column by column: what the fast path of decoding takes.

Each judge takes less than the strict decoder, and never more or otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args, get_origin

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.ingest.kafka_time import FIRST, LAST, TIME
from lakehouse.model.contract import Contract, arrow_type, base_type, metas
from lakehouse.model.money import PLAIN

if TYPE_CHECKING:
    from lakehouse.ingest.verdict import TimeRules

_DATE = (
    r"(?:[0-9]{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)"
    r"|(?:0[13578]|1[02])-31)"
    r"|(?:[0-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
_MOMENT = (
    rf"^{_DATE}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{{1,6}})?"
    r"(?:Z|\+(?:[01][0-9]|2[0-3]):[0-5][0-9]|-(?:0[1-9]|1[0-9]|2[0-3]):[0-5][0-9]"
    r"|-00:(?:0[1-9]|[1-5][0-9]))$"
)
"""Times as RFC 3339 has them, of days that there are, to the microsecond; not the offset -00:00."""
_WHOLE = r"^(?:0|-?[1-9][0-9]{0,17})$"
_LIMITS = ("ge", "le", "gt", "lt", "multiple_of", "min_length", "max_length", "pattern", "tz")
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Judged(ABC):
    """A field whose values can be judged."""

    name: str
    type: pa.DataType
    may_lack: bool
    """Whether a record may have none, or null: then nothing is to be judged."""
    is_quoted: ClassVar[bool] = False

    @abstractmethod
    def judge(self, texts: pa.Array) -> tuple[pa.Array, Flags]:
        """The column, and which of its values are surely good."""


@dataclass(frozen=True)
class _Text(Judged):
    is_quoted: ClassVar[bool] = True
    least: int = 0
    listed: tuple[str, ...] = ()

    def judge(self, texts: pa.Array) -> tuple[pa.Array, Flags]:
        if self.listed:
            fits = pc.is_in(texts, pa.array(self.listed, pa.string()))
        else:
            fits = pc.greater_equal(pc.binary_length(texts), self.least)
        return texts, _flags(fits)


@dataclass(frozen=True)
class _Number(Judged):
    pattern: ClassVar[str] = ""

    def judge(self, texts: pa.Array) -> tuple[pa.Array, Flags]:
        coded = texts.dictionary_encode()  # most numbers come again and again
        told = coded.dictionary
        told = pc.if_else(
            pc.match_substring_regex(told, self.pattern), told, pa.scalar(None, pa.string())
        )
        column = self.value(told).take(coded.indices)
        return column, _flags(column.is_valid())

    @abstractmethod
    def value(self, told: pa.Array) -> pa.Array:
        """Numbers of the pattern as values; null where they break a limit."""


@dataclass(frozen=True)
class _Whole(_Number):
    pattern: ClassVar[str] = _WHOLE
    least: int = 0
    most: int = 0
    is_nonzero: bool = False

    def value(self, told: pa.Array) -> pa.Array:
        whole = told.cast(pa.int64())
        fits = pc.and_(pc.greater_equal(whole, self.least), pc.less_equal(whole, self.most))
        if self.is_nonzero:
            fits = pc.and_(fits, pc.not_equal(whole, 0))
        return pc.if_else(fits, whole, pa.scalar(None, pa.int64())).cast(self.type)


@dataclass(frozen=True)
class _Money(_Number):
    pattern: ClassVar[str] = PLAIN

    def value(self, told: pa.Array) -> pa.Array:
        return told.cast(self.type)


@dataclass(frozen=True)
class _Time(Judged):
    is_quoted: ClassVar[bool] = True

    def judge(self, texts: pa.Array) -> tuple[pa.Array, Flags]:
        fits = pc.match_substring_regex(texts, _MOMENT)
        if not pc.all(fits, skip_nulls=False).as_py():
            texts = pc.if_else(fits, texts, pa.scalar(None, pa.string()))
        column = texts.cast(TIME)
        fits = pc.and_(pc.greater_equal(column, FIRST), pc.less_equal(column, LAST))
        return column, _flags(fits)


def in_time(event_time: pa.Array, kafka_time: pa.Array, rules: TimeRules) -> Flags:
    """Which events are neither before the earliest time nor in their future."""
    newest = pc.add(kafka_time, pa.scalar(rules.future_tolerance, pa.duration("us")))
    earliest = pa.scalar(rules.earliest, TIME)
    return _flags(
        pc.and_(pc.greater_equal(event_time, earliest), pc.less_equal(event_time, newest))
    )


def _flags(told: pa.Array) -> Flags:
    found: Flags = pc.fill_null(told, False).to_numpy(zero_copy_only=False)
    return found


def judges(contract: Contract) -> list[Judged]:
    """A judge for each field of the contract; none at all where one of them cannot be judged."""
    is_value = contract.unwrap is None or contract.mends
    if not is_value or not all(map(_is_plain, msgspec.structs.fields(contract.event))):
        return []
    found = [_judge(name, hint, contract) for name, hint in contract.hints.items()]
    return [one for one in found if one is not None] if all(found) else []


def _is_plain(field: msgspec.structs.FieldInfo) -> bool:
    """Whether JSON has it under its own name, and it is null where it is absent."""
    absent = {msgspec.NODEFAULT, msgspec.UNSET, None}
    is_null = field.default_factory is msgspec.NODEFAULT and any(field.default is a for a in absent)
    return field.encode_name == field.name and is_null


def _judge(name: str, hint: Any, contract: Contract) -> Judged | None:
    """None where the annotation asks for what no judge looks at."""
    kind, type_, may_lack = base_type(hint), arrow_type(hint), name not in contract.required
    limits = {
        limit: value
        for meta in metas(hint)
        for limit in _LIMITS
        if (value := getattr(meta, limit, None)) is not None
    }
    if kind is str and limits.keys() <= {"min_length"} and limits.get("min_length", 0) <= 1:
        return _Text(name, type_, may_lack, limits.get("min_length", 0), tuple(_listed(hint)))
    if kind is int and limits.keys() <= {"ge", "le"}:
        room = 2 ** (type_.bit_width - 1)
        least, most = max(limits.get("ge", -room), -room), min(limits.get("le", room), room - 1)
        return _Whole(name, type_, may_lack, least, most, name in contract.nonzero)
    if kind is Decimal and not limits:
        return _Money(name, type_, may_lack)
    if kind is datetime and limits.items() <= {"tz": True}.items():
        return _Time(name, type_, may_lack)
    return None


def _listed(hint: Any) -> Iterator[str]:
    """The texts that a field may be, where there is a list of them."""
    if get_origin(hint) is Literal:
        yield from get_args(hint)
        return
    for member in get_args(hint):
        yield from _listed(member)
