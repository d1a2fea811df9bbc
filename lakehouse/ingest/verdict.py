"""Why a record breaks its contract, in the data's words: the slow pass that names every fault."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, get_type_hints

import msgspec

from lakehouse.model.contract import Contract, Record, may_be_null
from lakehouse.model.money import exact
from lakehouse.model.nesting import is_too_deep

_TOO_DEEP = "the value is nested too deeply"
_WORDS = {
    "int": "a whole number",
    "float": "a number with a fraction",
    "str": "text",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
    "datetime": "a time",
}


@dataclass(frozen=True)
class TimeRules:
    """What a product's settings say of event times."""

    earliest: datetime
    future_tolerance: timedelta


@dataclass(frozen=True)
class Explained:
    """A record's fields, its unknown fields as JSON text, or its verdict."""

    fields: dict[str, Any]
    extra: str | None
    verdict: str | None


def explain(record: Record, contract: Contract, rules: TimeRules) -> Explained:
    """Every fault of one record, joined by ``; ``; or its fields where it has none."""
    try:
        raw = _event(record, contract)
    except ValueError as fault:
        return Explained({}, None, str(fault))
    faults: list[str] = []
    fields: dict[str, Any] = {}
    cased = {name.lower(): name for name in raw if name not in contract.hints}
    for name, hint in contract.hints.items():
        if name not in raw:
            if name in cased:
                faults.append(f"'{cased.pop(name)}' must be written '{name}'")
            elif name in contract.required:
                faults.append(f"'{name}' is missing")
            continue
        if name.lower() in cased:
            faults.append(f"'{cased.pop(name)}' stands beside '{name}': names differ only in case")
        try:
            fields[name] = _field(name, bytes(raw[name]), hint, contract)
            if isinstance(fields[name], datetime):
                _check_time(name, fields[name], record.time, rules)
        except ValueError as fault:
            faults.append(f"'{name}' {fault}")
    if faults:
        return Explained({}, None, "; ".join(faults))
    unknown = {name: text for name, text in raw.items() if name not in contract.hints}
    extra = msgspec.json.encode(unknown).decode() if unknown else None
    return Explained(fields, extra, None)


def _event(record: Record, contract: Contract) -> dict[str, msgspec.Raw]:
    if contract.unwrap is None:
        return _object(record.value)
    if record.value is not None:
        _object(record.value)
    return _object(contract.unwrap(record))


def _object(value: bytes | None) -> dict[str, msgspec.Raw]:
    if value is None:
        raise ValueError("the value is null (a tombstone)")
    if not value.strip(b" \t\r\n"):
        raise ValueError("the value is empty")
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the value is not UTF-8: byte 0x{value[error.start]:02x} at position {error.start}"
        ) from None
    try:
        fields = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError as error:
        got = re.search(r"got `(\w+)`", str(error))
        kind = _WORDS.get(got.group(1), got.group(1)) if got else "something else"
        raise ValueError(f"the value is not a JSON object but {kind}") from None
    except msgspec.DecodeError as error:
        text = str(error).removeprefix("JSON is malformed: ")
        raise ValueError(f"the value is not valid JSON: {text}") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if is_too_deep(value):
        raise ValueError(_TOO_DEEP)
    return fields


@cache
def _decoders(event: type[msgspec.Struct]) -> dict[str, msgspec.json.Decoder[Any]]:
    hints = get_type_hints(event, include_extras=True)
    return {name: msgspec.json.Decoder(hint) for name, hint in hints.items()}


def _field(name: str, raw: bytes, hint: Any, contract: Contract) -> Any:
    if name in contract.money:
        return None if raw == b"null" and may_be_null(hint) else _money(raw)
    try:
        value = _decoders(contract.event)[name].decode(raw)
    except msgspec.ValidationError as error:
        raise ValueError(_reword(str(error), raw)) from None
    except msgspec.DecodeError as error:
        raise ValueError(f"is not valid JSON: {error}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if name in contract.nonzero and value == 0:
        raise ValueError("is 0")
    return value


def _money(raw: bytes) -> Decimal:
    text = raw.decode()
    if text[0] not in "-0123456789":
        kind = {'"': "text", "t": "true", "f": "false", "n": "null", "[": "a list"}
        raise ValueError(f"must be a number, not {kind.get(text[0], 'an object')}")
    try:
        return exact(text)
    except ValueError as fault:
        raise ValueError(f"{fault}: {_short(raw)}") from None


def _check_time(name: str, value: datetime, kafka_time: datetime, rules: TimeRules) -> None:
    """Any time must be one in UTC; the event's own must not drag the watermark away."""
    try:
        value = value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999 in UTC") from None
    if name != "event_time":
        return
    if value < rules.earliest:
        raise ValueError(f"is before {rules.earliest:%Y-%m-%d}: {value.isoformat()}")
    if value > kafka_time + rules.future_tolerance:
        minutes = rules.future_tolerance.total_seconds() / 60
        raise ValueError(
            f"is in the future: {value.isoformat()} is more than {minutes:g} minutes "
            "after its Kafka time"
        )


def _reword(message: str, raw: bytes) -> str:
    """msgspec's words as an analyst would say them."""
    if match := re.match(r"Expected `(\w+)(?: \| null)?`, got `(\w+)`", message):
        wanted, got = (_WORDS.get(word, word) for word in match.groups())
        return f"must be {wanted}, not {got}"
    if message.startswith("Invalid enum value"):
        return f"is {_short(raw)}, which is not one of the allowed values"
    if "timezone component" in message:
        return f"has no offset: {_short(raw)}"
    if "RFC3339" in message:
        return f"is not an RFC 3339 time: {_short(raw)}"
    if "length >= 1" in message:
        return "is empty"
    if "out of range" in message or "`int` >=" in message or "`int` <=" in message:
        return f"is out of range: {_short(raw)}"
    return f"{message[:1].lower()}{message[1:]}"


def _short(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    return text if len(text) <= 60 else text[:57] + "..."
