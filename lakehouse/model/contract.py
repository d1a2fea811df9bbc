"""What a contract is: one typed event class, and the rules that types cannot say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
import pyarrow as pa
from msgspec import UNSET

from lakehouse.model.money import DIGITS, MONEY
from lakehouse.settings.sections import ProductSettings


@dataclass(frozen=True, slots=True)
class Record:
    """What Kafka has of one record: ``headers`` are objects with ``key`` and ``value``."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[Mapping[str, Any]] | None
    time: datetime


@dataclass(frozen=True)
class Contract:
    """The declared fields, types and rules of one kind of event.

    ``nonzero`` names whole-number fields that may not be 0; Decimal fields are
    money: JSON numbers that :func:`lakehouse.model.money.exact` takes. A field whose
    default is UNSET may be absent, and is null in bronze then, but not be null itself.
    """

    name: str
    version: int
    event: type[msgspec.Struct]
    nonzero: tuple[str, ...] = ()
    settings: type[ProductSettings] = ProductSettings
    descriptions: Mapping[str, str] = field(default_factory=dict)
    unwrap: Callable[[Record], bytes] | None = None
    """Record → the event's JSON object, where its value is not that itself.

    Raises ValueError with the verdict; a value that is there is a JSON object.
    """

    @cached_property
    def hints(self) -> dict[str, Any]:
        """Field name → its annotated type."""
        return get_type_hints(self.event, include_extras=True)

    @cached_property
    def required(self) -> frozenset[str]:
        """Fields that an event must have."""
        return frozenset(f.name for f in msgspec.structs.fields(self.event) if f.required)

    @cached_property
    def schema(self) -> pa.Schema:
        """The event's own columns as Arrow: what bronze stores, before its address."""
        return pa.schema(
            [
                pa.field(n, arrow_type(t), nullable=n not in self.required)
                for n, t in self.hints.items()
            ]
        )

    @cached_property
    def money(self) -> frozenset[str]:
        """Names of the Decimal fields."""
        return frozenset(n for n, t in self.hints.items() if base_type(t) is Decimal)

    @cached_property
    def wire(self) -> type[msgspec.Struct]:
        """The event class as the fast decoder reads it: money stays raw text.

        Raw, because a Decimal field would also accept a number in quotes.
        """
        fields: list[Any] = []
        for f in msgspec.structs.fields(self.event):
            hint = msgspec.Raw if f.name in self.money else self.hints[f.name]
            absent = None if f.default is UNSET else f.default
            fields.append((f.name, hint) if f.required else (f.name, hint, absent))
        return msgspec.defstruct(
            f"{self.event.__name__}Wire", fields, kw_only=True, gc=False, forbid_unknown_fields=True
        )

    def json_schema(self) -> dict[str, Any]:
        """The contract as JSON Schema (draft 2020-12)."""
        _, definitions = msgspec.json.schema_components([self.event])
        body = definitions[self.event.__name__]
        for name in self.money:
            body["properties"][name] = {
                "type": "number", "minimum": 0, "exclusiveMaximum": 10**DIGITS,
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
_ARROW = {str: pa.string(), int: pa.int32(), datetime: pa.timestamp("us", "UTC"), Decimal: MONEY}


def base_type(hint: Any) -> Any:
    """The plain type under ``Annotated``, ``Literal`` and ``| None``."""
    if get_origin(hint) is Annotated:
        return base_type(get_args(hint)[0])
    members = [a for a in get_args(hint) if a is not type(None)]
    if members and isinstance(members[0], str):
        return str
    return base_type(members[0]) if members else hint


def arrow_type(hint: Any) -> pa.DataType:
    """The Arrow type of a field's annotation; of 64 bits where its bounds ask for them."""
    if base_type(hint) is int and any((getattr(m, "le", 0) or 0) > _MAX_32 for m in _metas(hint)):
        return pa.int64()
    return _ARROW[base_type(hint)]


def _metas(hint: Any) -> Sequence[Any]:
    """What ``Annotated`` says of a type, also where it is one of a union."""
    if get_origin(hint) is Annotated:
        return get_args(hint)[1:]
    return [meta for member in get_args(hint) for meta in _metas(member)]
