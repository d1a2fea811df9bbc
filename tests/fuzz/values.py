"""JSON texts of single values: good ones, some at a limit, and ones that only look good."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from tests.fuzz.oracle import CURRENCIES, EARLIEST, TOLERANCE

Make = Callable[[Random], str]
"""A draw → a JSON value's text; bytes that are no UTF-8 stand in it as surrogates."""

_LETTERS = "abzAZ059 _-.@/'<>&%#\x7f\xa0ßéøıİſKΩ中文🎉\u200b\u2028\ufeff\U0010ffff"
_ESCAPES = (
    '\\"', "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t", "\\u0041", "\\u0000", "\\u00e9",
    "\\uD83D\\uDE00", "\\u2028", "\\uFFFF",
)  # fmt: skip
_BAD_TEXT = (
    '""', '"\\ud800"', '"\\ude00\\ud83d"', '"\\ud83d\\ud83d\\ude00"', '"\x00"', '"\n"', '"\\x41"',
    '"\\u12G4"', '"\udcff"', '"\udced\udca0\udc80"', '"\udcc0\udc80"', "'a'", '"a', "nul", "True",
)  # fmt: skip
_OTHERS = (
    "null", "true", "false", "1", "-1.5", '"text"', "[]", "{}", '["a"]', '{"a":1}', "NaN",
    "Infinity", "-Infinity", "",
)  # fmt: skip
_VALID = _OTHERS.index("NaN")
_BAD_NUMBERS = (
    "01", "1.", ".5", "+1", "1e", "1e+", "-", "--1", "0x10", "1_000", "1,5", "1 2", "１", "1e1.5",
    "-01", "00", "1.e3", "∞", '"1"', "1f", "NaN", "-NaN", "Infinity",
)  # fmt: skip
_COUNTRIES = ("Germany", "Côte d'Ivoire", "日本", "United Kingdom", "Curaçao")


def others(draw: Random) -> str:
    """A value of any type, or what is no JSON."""
    return draw.choice(_OTHERS)


def ignored(draw: Random) -> str:
    """JSON of any type, for a field that nobody reads; seldom none."""
    return draw.choice(_OTHERS[:_VALID] if draw.random() < 0.99 else _OTHERS)


def text(draw: Random) -> str:
    """A text that is not empty, in any of JSON's ways to write it."""
    kind = draw.random()
    if kind < 0.5:
        return json.dumps("".join(draw.choices("abcdef0123456789-", k=draw.randint(1, 12))))
    if kind < 0.997:
        return f'"{"".join(_char(draw) for _ in range(draw.randint(1, 8)))}"'
    return '"' + _char(draw) * draw.choice((255, 255, 4096, 4096, 40_000)) + '"'


def _char(draw: Random) -> str:
    return draw.choice(_ESCAPES) if draw.random() < 0.3 else draw.choice(_LETTERS)


def bad_text(draw: Random) -> str:
    """No text, or an empty or broken one."""
    return draw.choice(_BAD_TEXT) if draw.random() < 0.6 else others(draw)


def enum(allowed: Sequence[str]) -> Make:
    """One of these texts, perhaps with escapes."""

    def make(draw: Random) -> str:
        word = draw.choice(allowed)
        if draw.random() < 0.1:
            place = draw.randrange(len(word))
            return f'"{word[:place]}\\u{ord(word[place]):04x}{word[place + 1 :]}"'
        return f'"{word}"'

    return make


def bad_enum(allowed: Sequence[str]) -> Make:
    """Almost one of these texts."""

    def make(draw: Random) -> str:
        word = draw.choice(allowed)
        near = (word.lower(), word + " ", " " + word, word[:-1], word + "\\u0000", word.title())
        return f'"{draw.choice(near)}"' if draw.random() < 0.7 else bad_text(draw)

    return make


def digits(draw: Random, least: int, most: int) -> str:
    """So many digits, often all nines or zeros."""
    size = draw.randint(least, most)
    kind = draw.random()
    if kind < 0.3:
        return "9" * size
    return "0" * size if kind < 0.4 else "".join(draw.choices("0123456789", k=size))


def price(draw: Random) -> str:
    """Numbers about the limits: 12 digits before the point, 4 after it, exponents, zeros."""
    sign = "-" if draw.random() < 0.04 else ""
    size = draw.choice((1, 1, 2, 3, 6, 11, 12, 12, 13, 14, 15))
    whole = digits(draw, size, size).lstrip("0") or "0"
    if draw.random() < 0.005:
        whole = "9" * draw.choice((29, 300, 5000))
    point = "." + digits(draw, 1, 5) if draw.random() < 0.7 else ""
    if draw.random() < 0.15:
        point += ("" if point else ".") + "0" * draw.choice(
            (1, 1, 4, 4, 25, 25, 400, 5000) if draw.random() < 0.1 else (1, 4, 25)
        )
        point += "1" * (draw.random() < 0.1)
    return sign + whole + point + (_exponent(draw) if draw.random() < 0.25 else "")


def _exponent(draw: Random) -> str:
    size = draw.choice(("0", "1", "2", "3", "4", "7", "11", "12", "13", "400", "999999999"))
    if draw.random() < 0.05:
        size = draw.choice(("1" + "0" * 18, "9" * 20, "0" * 5000 + "2", "9" * 5000))
    return draw.choice("eE") + draw.choice(("", "+", "-", "-")) + size


def good_price(draw: Random) -> str:
    """A price that fits."""
    kind = draw.random()
    if kind < 0.6:
        return f"{draw.randint(0, 99999)}.{draw.randint(0, 99):02}"
    whole, point = str(draw.randint(0, 10 ** draw.randint(1, 12) - 1)), digits(draw, 1, 4)
    if kind < 0.8:
        return f"{whole}.{point}"
    if kind < 0.9:
        return f"{whole}.{point}{'0' * draw.choice((1, 30, 500))}"
    if kind < 0.95:
        return f"{(whole + point).lstrip('0') or '0'}{draw.choice(('e-', 'E-0'))}{len(point)}"
    return draw.choice(
        ("0", "-0", "-0.0", "0e5", "999999999999.9999", "1E2", "0E-9", "0e9999999999")
    )


def bad_number(draw: Random) -> str:
    """What some readers take for a number."""
    return draw.choice(_BAD_NUMBERS) if draw.random() < 0.7 else others(draw)


def whole(least: int, most: int) -> Make:
    """A whole number from ``least`` to ``most``, often at one of them."""

    def make(draw: Random) -> str:
        if draw.random() < 0.2:
            return str(draw.choice((least, most, least + 1, most - 1, 1, -1)))
        size = draw.randint(0, len(str(most)) - 1)
        return str(max(least, min(most, draw.choice((1, -1)) * draw.randint(1, 10**size))))

    return make


def bad_whole(least: int, most: int) -> Make:
    """A number that is too great, or is not whole as it is written."""
    near = (
        str(least - 1), str(most + 1), "0", "-0", "1.0", "1e3", "2E0", "1.5", "-0.0", str(2**31),
        str(2**63), str(-(2**63) - 1), str(2**64), "9" * 30, "9" * 5000, "1e400", "1e-400",
    )  # fmt: skip
    return lambda draw: draw.choice(near) if draw.random() < 0.7 else bad_number(draw)


def time(kafka_time: datetime) -> Make:
    """A time that an event may have, in the ways that RFC 3339 and msgspec know."""

    def make(draw: Random) -> str:
        kind = draw.random()
        if kind < 0.1:
            moment = draw.choice((EARLIEST, kafka_time + TOLERANCE))
            moment += timedelta(microseconds=draw.randint(-2, 2))
        else:
            moment = kafka_time - timedelta(seconds=draw.expovariate(1e-6))
        return written(draw, moment)

    return make


def written(draw: Random, moment: datetime) -> str:
    """A moment as text, with some offset and some digits of a second."""
    minutes = draw.choice((0, 0, 0, 60, -60, 330, -570, 840, 1439, -1439))
    moment = moment.astimezone(UTC) + timedelta(minutes=minutes)
    fraction = draw.choice(("", f".{moment.microsecond:06}", f".{moment.microsecond:06}"))
    if fraction and draw.random() < 0.3:
        fraction = draw.choice(
            (
                fraction[: draw.randint(2, 7)],
                fraction + digits(draw, 1, 5),
                fraction + "5",
                ".9999999",
            )
        )
    sign = "-" if minutes < 0 else "+"
    hours, rest = divmod(abs(minutes), 60)
    offset = f"{sign}{hours:02}{draw.choice((':', ':', ':', ''))}{rest:02}"
    if not minutes:
        offset = draw.choice(("Z", "Z", "z", "+00:00", "-00:00", "+0000"))
    return f'"{moment:%Y-%m-%d}{draw.choice("TTTt ")}{moment:%H:%M:%S}{fraction}{offset}"'


_BAD_TIMES = (
    "2026-11-20T11:00:00", "2026-11-20", "2026-11-20T11:00Z", "2026-02-30T00:00:00Z",
    "2025-02-29T00:00:00Z", "2026-11-20T24:00:00Z", "2026-11-20T23:60:00Z", "2016-12-31T23:59:60Z",
    "2026-11-20T11:00:00.Z", "2026-11-20T11:00:00,5Z", "2026-11-20T11:00:00+24:00",
    "2026-11-20T11:00:00+01", "2026-11-20T11:00:00+01:60", "2026-11-20T11:00:00 Z", "1.1.2026",
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.9999999Z",
    "9999-12-31T23:59:59-14:00", "1999-12-31T23:59:59.9999999Z", "2096-01-01T00:00:00Z",
    "1700000000", "2026-11-20T11:00:00Z\\u0000", "２026-11-20T11:00:00Z", "-026-11-20T11:00:00Z",
    "2026-11-20T11:00:00\\u005a", "2026-1-20T11:00:00Z", "20261120T110000Z",
)  # fmt: skip


def bad_time(draw: Random) -> str:
    """Not quite a time, or one that no event has."""
    return f'"{draw.choice(_BAD_TIMES)}"' if draw.random() < 0.7 else others(draw)


COUNTRY = enum(_COUNTRIES)
CURRENCY = tuple(sorted(CURRENCIES))
