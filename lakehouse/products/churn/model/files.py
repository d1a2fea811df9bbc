"""A file of customers scored without Kafka: predictions in files, a part at a time.

Worked example, of a file of 25,000 rows in parts of 10,000.

- ``predictions-00000.jsonl`` is there, written whole. Crash here, or while the next part is made.
- The next run finds which file, model and time ``job.json`` says, and goes on with part 1: its rows
  that broke the contract are written to ``refused-00001.jsonl``, then its predictions.
- Each part gives the same predictions again, but for how long they took.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from lakehouse.core.errors import UsageError, writing
from lakehouse.core.files import write_whole
from lakehouse.core.progress import Counted
from lakehouse.core.text import as_json
from lakehouse.ingest.decode import decode_batch
from lakehouse.ingest.verdict import TimeRules
from lakehouse.products.churn.contract import CUSTOMERS
from lakehouse.products.churn.model.customers import kafka_rows
from lakehouse.products.churn.model.outcomes import Outcomes, Scored, outcomes_of
from lakehouse.products.churn.model.scoring import Scorer
from producers.churn import table
from producers.churn.events import of_row

PART = 10_000
_JOB = "job.json"


class Job(msgspec.Struct, frozen=True):
    """What the parts in a folder are of."""

    sha256: str
    model: str
    scored_at: datetime


def score_file(
    path: Path, out: Path, scorer: Scorer, rules: TimeRules, stop: threading.Event, now: datetime
) -> Scored:
    """Score the parts that the folder lacks, until ``stop``; counts those that it has too.

    UsageError where the file cannot be read, or the folder has parts of another file or model;
    DiskFull, or ServiceUnavailable, where a part cannot be written.
    """
    job = _job(out, Job(table.digest_of(path), scorer.card.version, now))
    given, scored = enumerate(table.rows(path)), Scored()
    read = Counted("scoring", table.count_rows(path))
    for number in itertools.count():
        part = list(itertools.islice(given, PART))
        if not part or stop.is_set():
            return scored
        read.add(len(part))
        done = out / f"predictions-{number:05}.jsonl"
        if done.exists():
            kept = done.read_bytes().count(b"\n")
            scored.predictions += kept
            scored.dead_letters += len(part) - kept
            continue
        rows = decode_batch(_records(part, path, job), CUSTOMERS, rules)
        outcomes = outcomes_of(rows, scorer, job.scored_at)
        with writing(out):
            write_whole(out / f"refused-{number:05}.jsonl", _refused(outcomes))
            write_whole(done, b"".join(value + b"\n" for value in outcomes.values))
        scored.add(outcomes)
    raise AssertionError("counting has no end")


def _job(out: Path, job: Job) -> Job:
    """The job whose parts the folder has; this one, where it has none."""
    place = out / _JOB
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            write_whole(place, msgspec.json.encode(job))
            return job
    try:
        known = msgspec.json.decode(place.read_bytes(), type=Job)
    except msgspec.MsgspecError:
        known = msgspec.structs.replace(job, sha256="")
    if (known.sha256, known.model) != (job.sha256, job.model):
        raise UsageError(
            str(out), f"holds the predictions of another file or model ({known.model})",
            "name another folder with --out, or remove this one",
        )  # fmt: skip
    return known


def _records(part: Sequence[tuple[int, dict[str, Any]]], path: Path, job: Job) -> pa.RecordBatch:
    """Rows of a file as Kafka's: the file's name for the topic, and the row for the offset."""
    messages = [of_row(row, f"{job.sha256[:16]}-{n}", job.scored_at, 0.0) for n, row in part]
    values = [message.value for message in messages]
    return kafka_rows(values, job.scored_at, topic=path.name, first=part[0][0])


def _refused(outcomes: Outcomes) -> bytes:
    """A line a letter: which row, why, and what it says."""
    told = []
    for letter in outcomes.letters:
        headers = dict(letter.headers)
        row, text = (
            headers["__connect.errors.offset"],
            (letter.value or b"").decode("utf-8", "replace"),
        )
        told.append(as_json({"row": int(row or 0), "verdict": headers["verdict"], "value": text}))
    return "".join(f"{line}\n" for line in told).encode()
