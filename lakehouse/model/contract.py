"""What a contract is: one typed event class, and the rules that types cannot say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cache
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import UNSET, UnsetType

from lakehouse.model.money import DIGITS, money_type

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Record:
    """What Kafka has of one record: ``headers`` are objects with ``key`` and ``value``."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[Mapping[str, Any]] | None
    time: datetime
    partition: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Contract:
    """The declared fields, types and rules of one kind of event.

    ``nonzero`` names whole-number fields that may not be 0; Decimal fields are
    money: JSON numbers that :func:`lakehouse.model.money.exact` takes. A field whose
    default is UNSET may be absent, and is null in bronze then, but not be null itself.

    It travels to Spark's executors by pickle: the event class and ``unwrap`` by their
    names, so their module must be importable there. What is made of the event class is
    made once a process.
    """

    name: str
    version: int
    event: type[msgspec.Struct]
    nonzero: tuple[str, ...] = ()
    descriptions: Mapping[str, str] = field(default_factory=dict)
    unwrap: Callable[[Record], bytes] | None = None
    """Record → the event's JSON object, where its value is not that itself.

    Raises ValueError with the verdict; a value that is there is a JSON object.
    """
    mends: bool = False
    """Whether ``unwrap`` only mends: a value that keeps the contract as it is says the same after.

    Such records are decoded a column at a time, like those of a contract without ``unwrap``.
    """
    person: str = ""
    """The field that says whose event it is: what ``lakehouse erase`` goes by."""

    @property
    def hints(self) -> dict[str, Any]:
        """Field name → its annotated type."""
        return _hints(self.event)

    @property
    def required(self) -> frozenset[str]:
        """Fields that an event must have."""
        return _required(self.event)

    @property
    def schema(self) -> pa.Schema:
        """The event's own columns as Arrow: what bronze stores, before its address."""
        return _schema(self.event)

    @property
    def money(self) -> frozenset[str]:
        """Names of the Decimal fields."""
        return _money(self.event)

    @property
    def wire(self) -> type[msgspec.Struct]:
        """The event class as the fast decoder reads it: money stays raw text.

        Raw, because a Decimal field would also accept a number in quotes.
        """
        return _wire(self.event)

    @property
    def loose_wire(self) -> type[msgspec.Struct]:
        """As :attr:`wire`, but unknown fields are let pass."""
        return _wire(self.event, is_loose=True)

    def json_schema(self) -> dict[str, Any]:
        """The contract as JSON Schema (draft 2020-12)."""
        _, definitions = msgspec.json.schema_components([self.event])
        body = definitions[self.event.__name__]
        for name in self.money:
            kinds = ["number", "null"] if may_be_null(self.hints[name]) else "number"
            body["properties"][name] = {
                "type": kinds, "minimum": 0, "exclusiveMaximum": 10**DIGITS,
                "multipleOf": 0.0001,
            }  # fmt: skip
        for name in self.nonzero:
            body["properties"][name]["not"] = {"const": 0}
        for name, text in self.descriptions.items():
            body["properties"][name]["description"] = text
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"lakehouse:{self.name}:{self.version}",
            **body,
        }

    def encode(self, event: msgspec.Struct) -> bytes:
        """One event as its Kafka value: JSON, money as numbers, times as RFC 3339."""
        return _ENCODER.encode(event)


_ENCODER = msgspec.json.Encoder(decimal_format="number")
_MAX_32 = 2**31 - 1
_KINDS = {str: "string", int: "int32", datetime: "timestamp", Decimal: "money"}


@cache
def _hints(event: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(event, include_extras=True)


@cache
def _required(event: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(f.name for f in msgspec.structs.fields(event) if f.required)


@cache
def _schema(event: type[msgspec.Struct]) -> pa.Schema:
    import pyarrow as pa  # noqa: PLC0415  # a declaration alone does not need it

    required = _required(event)
    return pa.schema(
        [pa.field(n, arrow_type(t), nullable=n not in required) for n, t in _hints(event).items()]
    )


@cache
def _money(event: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(n for n, t in _hints(event).items() if base_type(t) is Decimal)


@cache
def _wire(event: type[msgspec.Struct], *, is_loose: bool = False) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for f in msgspec.structs.fields(event):
        hint = msgspec.Raw if f.name in _money(event) else _hints(event)[f.name]
        absent = None if f.default is UNSET else f.default
        fields.append((f.name, hint) if f.required else (f.name, hint, absent))
    return msgspec.defstruct(
        f"{event.__name__}Wire", fields, kw_only=True, gc=False,
        forbid_unknown_fields=not is_loose,
    )  # fmt: skip


def base_type(hint: Any) -> Any:
    """The plain type under ``Annotated``, ``Literal`` of texts, ``| None`` and ``| UnsetType``.

    Any other type is given back as it is.
    """
    origin, members = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return base_type(members[0])
    if origin is Literal and all(isinstance(member, str) for member in members):
        return str
    if origin in {Union, UnionType}:
        said = [member for member in members if member not in {type(None), UnsetType}]
        return base_type(said[0]) if len(said) == 1 else hint
    return hint


def may_be_null(hint: Any) -> bool:
    """Whether a field of this annotation takes a null."""
    return type(None) in get_args(hint) or (
        get_origin(hint) is Annotated and may_be_null(get_args(hint)[0])
    )


def has_offset(hint: Any) -> bool:
    """Whether a time of this annotation must say its offset from UTC."""
    return any(getattr(meta, "tz", None) is True for meta in metas(hint))


def kind_of(hint: Any) -> str:
    """What a column holds, of a field's annotation; 64 bits where its bounds ask for them.

    KeyError where no column can hold it.
    """
    if base_type(hint) is int and any((getattr(m, "le", 0) or 0) > _MAX_32 for m in metas(hint)):
        return "int64"
    return _KINDS[base_type(hint)]


def arrow_type(hint: Any) -> pa.DataType:
    """The Arrow type of a field's annotation."""
    import pyarrow as pa  # noqa: PLC0415  # as above

    kind = kind_of(hint)
    if kind == "money":
        return money_type()
    return pa.timestamp("us", "UTC") if kind == "timestamp" else pa.type_for_alias(kind)


def metas(hint: Any) -> Sequence[Any]:
    """What ``Annotated`` says of a type, also where it is one of a union."""
    if get_origin(hint) is Annotated:
        return get_args(hint)[1:]
    return [meta for member in get_args(hint) for meta in metas(member)]
