"""Quarantine by contract field and kind of fault: few kinds, whatever records hold."""

from __future__ import annotations

from lakehouse.core.sql import text, texts
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.sql import read
from lakehouse.products.registry import contract
from lakehouse.settings.sections import ExplorerSettings

Faults = dict[tuple[str, str], int]
"""(field, or '' of the record as a whole; kind) → records."""
OTHER = "other"
_OF_A_FIELD = {
    "is missing": "missing",
    "must be written": "named otherwise",
    "stands beside": "named twice",
    "must be ": "wrong type",
    "is out of range": "out of range",
    "is before": "too early",
    "is in the future": "in the future",
    "is outside the years": "no such time",
    "is not an RFC 3339": "no such time",
    "has no offset": "no offset",
    "is empty": "empty",
    "is 0": "zero",
    "is negative": "negative",
    "has more than": "too exact",
}
"""What follows a field's name in a verdict of :mod:`lakehouse.ingest.verdict` → its kind."""
_OF_A_RECORD = {
    "the value is null": "tombstone",
    "the value is empty": "empty",
    "the value is not UTF-8": "not UTF-8",
    "the value is not a JSON object": "no object",
    "the value is not valid JSON": "not JSON",
    "the value is nested too deeply": "too deep",
}


def faults_of(catalogue: Catalogue, name: str, settings: ExplorerSettings) -> Faults:
    """The records of a contract in quarantine, by the first fault of each; replayed ones left out.

    Fields are the contract's, kinds those listed here and ``other``: data adds none.
    """
    known = texts([*contract(name).hints])
    sql = rf"""
        WITH told AS (
            SELECT regexp_extract(verdict, '^''(\w{{1,99}})'' ', 1) AS field,
                regexp_replace(verdict, '^''[^'']{{1,99}}'' ', '') AS said, verdict
            FROM quarantine.{name} WHERE replayed_version IS NULL),
        kinds AS (
            SELECT CASE WHEN field IN ({known}) THEN field ELSE '' END AS field,
                CASE WHEN field IN ({known}) THEN {_kind("said", _OF_A_FIELD)}
                     WHEN verdict LIKE '''%' THEN {_kind("said", _OF_A_FIELD)}
                     ELSE {_kind("verdict", _OF_A_RECORD)} END AS kind
            FROM told)
        SELECT field, kind, count(*) AS records FROM kinds GROUP BY ALL ORDER BY ALL"""
    rows = read(catalogue, sql, settings).to_pylist()
    return {(row["field"], row["kind"]): row["records"] for row in rows}


def _kind(column: str, kinds: dict[str, str]) -> str:
    cases = [f"WHEN starts_with({column}, {text(a)}) THEN {text(b)}" for a, b in kinds.items()]
    if kinds is _OF_A_FIELD:
        cases.append(f"WHEN regexp_matches({column}, '^is .{{0,80}}, which is not one of') "
                     "THEN 'not allowed'")  # fmt: skip
    return f"CASE {' '.join(cases)} ELSE {text(OTHER)} END"
