"""Generates docs/tables.md, settings.md, metrics.md and config.ini from what they describe."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from lakehouse.core.errors import Exit
from lakehouse.core.metrics import DECLARED
from lakehouse.explorer.measured import LOOK, MEASURED
from lakehouse.ingest.erased import ERASED_SCHEMA
from lakehouse.ingest.ledger import LEDGER_SCHEMA
from lakehouse.ingest.schemas import QUARANTINE_SCHEMA, bronze_schema
from lakehouse.model.flow import UNITS, ParquetFlow, SilverFlow
from lakehouse.products.registry import contracts, flows, sections_of_products
from lakehouse.settings.names import CODE_SECTIONS, FREE_SECTIONS
from lakehouse.settings.reading import CODE_ENV, RESERVED_ENV
from lakehouse.settings.settings import sections
from lakehouse.silver.latest import BLOCK, HISTORY_DOCS, keyed_columns
from lakehouse.silver.render import column_docs, table_columns

FREE_DOCS = {
    "spark.conf": "passed on to Spark unchanged",
    "table.properties": "given to new Delta tables unchanged",
}
EXIT_DOCS = {
    Exit.OK: "success",
    Exit.FAULT: "the answer is no: a check failed, SQL was rejected, numbers differ",
    Exit.USAGE: "wrong arguments or wrong settings",
    Exit.NO_TABLE: "no such table (yet)",
    Exit.TIMEOUT: "the time limit ran out",
    Exit.UNAVAILABLE: "Kafka, Java, a jar or the disk is not available",
    Exit.LOCKED: "another process writes the table",
    Exit.INTERRUPTED: "Ctrl-C",
}


METRICS_DOC = """
A process that runs flows serves them where `[metrics] port` or `--metrics-port` is set, on
loopback: `/metrics` has all of them, `/metrics/process` the first list alone. Beside them are
Prometheus' own `process_*` of the process. `/health/live` says 200 while the process answers,
`/health/ready` 200 while every flow of it runs and no service is waited for; else 503, and why.
Each process needs a port of its own (`LAKEHOUSE_METRICS_PORT`). A job under `spark-submit` serves
the first list alone: `lakehouse dashboard` serves the second.

No label comes from data: a verdict is shown as the contract's field and one of a few kinds.

`deploy/prometheus` has a configuration and alert rules, each with what to do; `deploy/grafana` a
board. A test has a real Prometheus scrape a run: each expression in them has data, and each alert
fires and clears.

""".splitlines()


def write_docs(root: Path, *, check: bool) -> list[str]:
    """Write the generated files that are out of date, or only ``check``; gives their paths."""
    stale = []
    for name, text in {
        "docs/tables.md": tables_md(),
        "docs/settings.md": settings_md(),
        "docs/metrics.md": metrics_md(),
        "config.ini": config_ini(),
    }.items():
        path = root / name
        if not path.is_file() or path.read_text("utf-8") != text:
            stale.append(name)
            if not check:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    return stale


def tables_md() -> str:
    """docs/tables.md: every table, with its columns, their types and meaning."""
    out = ["# Tables", "", "Generated from the code by `lakehouse docs`.", ""]
    for name, contract in contracts().items():
        out += [f"## bronze.{name}", "", "Append-only, partitioned by `event_date`.", ""]
        docs = {**contract.descriptions, **_ADDED}
        out += _rows(
            (f.name, f"{f.type}{'' if f.nullable else ', never null'}", docs.get(f.name, ""))
            for f in bronze_schema(contract)
        )
        out += [f"## quarantine.{name}", "", "Records that broke the contract, bytes kept.", ""]
        out += _rows((f.name, str(f.type), _ADDED.get(f.name, "")) for f in QUARANTINE_SCHEMA)
        out += [f"## ledger.{name}", "", "One row per batch with a late or duplicate event.", ""]
        out += _rows(
            (f.name, f"{f.type}{'' if f.nullable else ', never null'}", _LEDGER[f.name])
            for f in LEDGER_SCHEMA
        )
        out += [
            f"## erased.{name}",
            "",
            "Addresses of records that `lakehouse erase` or `quarantine_retention` removed.",
            "",
        ]
        out += _rows((f.name, str(f.type), _ADDED.get(f.name, "")) for f in ERASED_SCHEMA)
    for flow in flows():
        if isinstance(flow, SilverFlow):
            out += _silver(flow)
        if isinstance(flow, ParquetFlow):
            out += [f"## {flow.table}", "", f"Parquet files, not Delta: {flow.doc}.", ""]
            docs = {**flow.contract.descriptions, **_ADDED}
            schema = bronze_schema(flow.contract)
            out += _rows((n, str(schema.field(n).type), docs[n]) for n in flow.columns)
    return "\n".join(out)


_ADDED = {
    "extra": "fields that the contract does not know, as JSON",
    "topic": "address: Kafka topic",
    "partition": "address: topic partition",
    "offset": "address: offset",
    "kafka_time": "Kafka's time of the record",
    "ingest_time": "when the batch was committed",
    "batch_id": "number of the batch that landed it, from 0",
    "watermark": "the newest event time committed before, less the delay",
    "is_late": "the event is older than the watermark",
    "is_duplicate": "the same event_id came before within the horizon; silver does not count it",
    "event_date": "UTC date of event_time; partition",
    "key": "the record's key, raw bytes",
    "value": "the record's value, raw bytes",
    "headers": "the record's headers",
    "flow": "the flow that quarantined it",
    "verdict": "every fault of the record, as text",
    "contract_version": "the contract version that it broke",
    "quarantined_at": "when it was quarantined",
    "replayed_version": "the bronze version that a replay planned for it; if bronze has it, "
    "it counts there",
    "replayed_at": "when it was replayed",
    "topic_id": "id of the topic that it was read from; null if it was not recorded",
    "left_out_bytes": "how large a record is whose bytes are not kept: it is beyond [bronze] "
    "max_record_mb; else null",
    "left_out_sha256": "SHA-256 of what is not kept, as docs/operations.md says it",
    "erased_at": "when it was erased, or dropped past its retention",
    "table": "the table that it was in",
}


_LEDGER = {
    "batch_id": "the batch, as in bronze",
    "bronze_version": "the bronze version that added it; null if bronze's log no longer says",
    "ingest_time": "when the batch was committed",
    "watermark": "the batch's watermark; null for the first batch",
    "rows": "rows that it added to bronze",
    "late": "of these, late ones",
    "duplicates": "of these, duplicates",
    "most_late_us": "microseconds by which the oldest late event is behind the watermark",
    "first_late": "event_time of the oldest late event",
    "last_late": "event_time of the newest late event",
}


def _silver(flow: SilverFlow) -> list[str]:
    out = []
    for aggregate in flow.aggregates:
        partition = f", partitioned by `{aggregate.partition}`" if aggregate.partition else ""
        keys = ", ".join(f"`{key}`" for key in aggregate.keys)
        out += [f"## {flow.table(aggregate.name)}", ""]
        out += [f"{aggregate.doc[:1].upper()}{aggregate.doc[1:]}. Keys: {keys}{partition}.", ""]
        docs = column_docs(aggregate)
        out += _rows((n, kind, docs.get(n, "")) for n, kind in table_columns(aggregate).items())
        for favourite in (aggregate.favourite or {}).values():
            out += [f"## {flow.table(favourite.finer)}", "", f"Finer table: {favourite.doc}.", ""]
            rows = [(n, kind, "") for n, (_, kind) in aggregate.keys.items()]
            out += _rows([*rows, (favourite.of, "VARCHAR", ""), ("units", UNITS, "units bought")])
    if flow.keyed:
        docs = {**flow.keyed.docs, **HISTORY_DOCS}
        what = {
            flow.keyed.current: f"One row per {flow.keyed.key} that is not deleted",
            flow.keyed.history: f"One row per run of changes with the same {flow.keyed.follows}",
        }
        for name, columns in keyed_columns(flow.keyed).items():
            out += [f"## {flow.table(name)}", ""]
            out += [f"{what[name]}. Key: `{flow.keyed.key}`, partitioned by `{BLOCK}`.", ""]
            out += _rows((n, kind, docs.get(n, "")) for n, kind in columns.items())
    for session in flow.sessions:
        out += [
            f"## {flow.table(session.name)}",
            "",
            f"{session.doc[:1].upper()}{session.doc[1:]}. "
            f"Keys: `{session.key}`, `session_start`, partitioned by `session_date`.",
            "",
        ]
        out += _rows((n, kind, session.docs[n]) for n, kind in session.columns.items())
    for finer in flow.finers:
        out += [f"## {flow.table(finer.name)}", "", f"Finer table: {finer.doc}.", ""]
        kinds = {n: "TIMESTAMPTZ" if n == "event_time" else "VARCHAR" for n in finer.keys}
        out += _rows((n, kinds[n], f"`{sql}`") for n, sql in finer.keys.items())
    return out


def settings_md() -> str:
    """docs/settings.md: every key, its variable, type and default; other variables; exit codes."""
    out = [
        "# Settings",
        "",
        "Generated from the code by `lakehouse docs`. Environment wins over",
        "",
    ]
    out[-1:] = ["`config.ini`, `config.ini` over the defaults.", ""]
    for name, section in sections(sections_of_products()).items():
        out += [f"## [{name}]", ""]
        out += _rows(
            (
                key,
                f"`LAKEHOUSE_{name}_{key}`".upper(),
                f"`{_default(field.default)}`",
                field.description or "",
            )
            for key, field in section.model_fields.items()
        )
    out += ["## Free sections", ""]
    out += _rows((f"[{name}]", "", "", FREE_DOCS[name]) for name in FREE_SECTIONS)
    out += ["## Other environment variables", ""]
    out += _rows(("", f"`{name}`", "", text) for name, text in RESERVED_ENV.items())
    out += ["## What can run code", ""]
    out += [
        "Whoever writes these can run code as you. A `config.ini` that belongs to another user, or",
        "that others can write to, is refused.",
        "",
    ]
    out += _rows(_running_code(), ("what", "where", "how"))
    out += ["## Exit codes", "", "| code | name | when |", "| --- | --- | --- |"]
    out += [f"| {int(code)} | {code.name} | {text} |" for code, text in EXIT_DOCS.items()]
    return "\n".join(out) + "\n"


def metrics_md() -> str:
    """docs/metrics.md: every metric, its kind, labels and meaning, by who serves it."""
    out = ["# Metrics", "", "Generated from the code by `lakehouse docs`.", *METRICS_DOC]
    heads = ("metric", "kind", "labels", "what")
    for title, metrics in (
        ("What a process counts of its own work", DECLARED),
        ("What is read of tables, broker and disk", [*(metric for metric, _ in MEASURED), LOOK]),
    ):
        out += [f"## {title}", ""]
        rows = (
            (f"`{m.full_name}`", m.kind, ", ".join(f"`{name}`" for name in m.labels), m.doc)
            for m in metrics
        )
        out += _rows(rows, heads)
    return "\n".join(out)


def _running_code() -> Iterator[tuple[str, str, str]]:
    for name, section in sections(sections_of_products()).items():
        for key, field in section.model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and "runs_code" in extra:
                yield f"[{name}] {key}", "config.ini", str(extra["runs_code"])
    yield from ((f"[{name}]", "config.ini", how) for name, how in CODE_SECTIONS.items())
    yield from ((name, "environment", how) for name, how in CODE_ENV.items())


def config_ini() -> str:
    """config.ini: every key with its default and a comment."""
    out = [
        "# Settings of the lakehouse. Written by `lakehouse docs`. Change values here, in a copy",
        "# named by LAKEHOUSE_CONFIG, or override one key by LAKEHOUSE_<SECTION>_<KEY>.",
    ]
    for name, section in sections(sections_of_products()).items():
        doc = (section.__doc__ or "").splitlines()[0].partition(": ")[2]
        out += ["", f"[{name}]", f"# {doc}"] if doc else ["", f"[{name}]"]
        for key, field in section.model_fields.items():
            if "SecretStr" in str(field.annotation):
                variable = f"LAKEHOUSE_{name}_{key}".upper()
                out += [f"# {key}: only from the environment, {variable}"]
                continue
            out += [f"# {field.description}", f"{key} = {_default(field.default)}"]
    for name in FREE_SECTIONS:
        out += ["", f"[{name}]", f"# {FREE_DOCS[name]}"]
    return "\n".join(out) + "\n"


def _default(value: Any) -> str:
    if isinstance(value, timedelta):
        for unit, seconds in (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1)):
            if value.total_seconds() % seconds == 0 and value.total_seconds() >= seconds:
                return f"{value.total_seconds() / seconds:g} {unit}"
        return f"{value.total_seconds() * 1000:g} ms" if value else "0 seconds"
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _rows(rows: Any, head: tuple[str, ...] = ()) -> list[str]:
    listed = [tuple(row) for row in rows]
    heads = {3: ("column", "type", "what"), 4: ("key", "variable", "default", "what")}
    head = head or (heads[len(listed[0])] if listed else heads[3])
    out = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    out += ["| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |" for row in listed]
    return [*out, ""]
