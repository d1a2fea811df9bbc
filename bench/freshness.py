"""From Kafka's time of an event to its silver commit seen by another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import duckdb
import numpy as np
import numpy.typing as npt
from deltalake import DeltaTable

from bench.process import Meter, python
from lakehouse.core.paths import Lake
from lakehouse.storage.health import current
from lakehouse.storage.increments import increments

SETTLE_SECONDS = 20
"""The start of a run that is not counted: JVM and caches are cold."""
Latencies = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Watch:
    """What runs, what sees where an event has come to, what sends, and the table of its bronze."""

    flows: tuple[str, ...]
    watcher: tuple[str, ...]
    load: str
    bronze: str


IN_SILVER = Watch(
    ("sales.bronze", "sales.silver"), ("bench.peers.watch",), "bench.peers.load", "bronze.sales"
)


@dataclass(frozen=True)
class Freshness:
    """One rate's result; latencies in seconds, memory in MB without broker and load.

    ``mb_by_minute`` has the median of each minute's samples of memory, ``own_by_minute`` of what
    no file backs; ``times`` and ``waits`` are of each event, in seconds since 1970 and from then
    on.
    """

    rate: int
    events: int
    p50: float
    p95: float
    worst: float
    p95_by_minute: list[float]
    batches: int
    cpu_cores: float
    peak_mb: float
    mb_by_minute: list[float]
    own_by_minute: list[float]
    times: Latencies
    waits: Latencies


def freshness(
    root: Path,
    environment: Mapping[str, str],
    rate: int,
    minutes: float,
    each_second: Callable[[float], None] = lambda _: None,
    watch: Watch = IN_SILVER,
) -> Freshness:
    """Run the flows under a steady load, watched from outside.

    ``each_second`` is told the memory of the flows' processes, in MB.
    """
    environment = {**os.environ, **environment, "LAKEHOUSE_LAKE_ROOT": str(root)}
    root.mkdir(parents=True)
    engine_log, seen_log = root / "engine.log", root / "seen.jsonl"
    landed = _Landed(Lake(str(root)).table(watch.bronze))
    with engine_log.open("wb") as log, seen_log.open("wb") as seen:
        engine = subprocess.Popen(
            python("lakehouse", "run", *watch.flows), env=environment, stdout=log, stderr=log
        )
        watcher = subprocess.Popen(python(*watch.watcher, str(root)), env=environment, stdout=seen)
        try:
            load = subprocess.Popen(
                python(watch.load, str(rate), str(minutes * 60 + SETTLE_SECONDS)),
                env=environment, stdout=subprocess.PIPE,
            )  # fmt: skip
            started = time.monotonic()
            meter = Meter(engine.pid)
            settled = 0.0
            memory: list[tuple[float, float]] = []
            while load.poll() is None:
                memory.append((meter.sample(), meter.own_mb))
                each_second(memory[-1][0])
                landed.look()
                if not settled and time.monotonic() - started >= SETTLE_SECONDS:
                    settled = meter.cpu_seconds
                    memory.clear()
                time.sleep(1)
            cores = (meter.cpu_seconds - settled) / (minutes * 60)
            time.sleep(3)
            landed.look(at_end=True)
        finally:
            engine.send_signal(signal.SIGTERM)
            engine.wait(60)
            watcher.kill()
            watcher.wait()
    if engine.returncode != 0:
        raise RuntimeError(engine_log.read_text()[-2000:])
    all_, own = (
        [float(median(part)) for part in np.array_split(column, max(1, round(minutes)))]
        for column in zip(*memory, strict=True)
    )
    return _result(landed, seen_log, rate, cores, meter.peak_mb, all_, own)


def _result(
    landed: _Landed, seen_log: Path, rate: int, cores: float, peak_mb: float,
    mb_by_minute: list[float], own_by_minute: list[float],
) -> Freshness:  # fmt: skip
    times, waits, batches = _latencies(landed, seen_log)
    start = times.min() + SETTLE_SECONDS
    counted = times >= start
    times, waits = times[counted], waits[counted]
    minute = ((times - start) // 60).astype(int)
    return Freshness(
        rate=rate,
        events=len(waits),
        p50=float(np.percentile(waits, 50)),
        p95=float(np.percentile(waits, 95)),
        worst=float(waits.max()),
        p95_by_minute=[
            float(np.percentile(waits[minute == m], 95))
            for m in range(max(1, round((times.max() - start) / 60)))
            if (minute == m).any()
        ],
        batches=batches,
        cpu_cores=cores,
        peak_mb=peak_mb,
        mb_by_minute=mb_by_minute,
        own_by_minute=own_by_minute,
        times=times,
        waits=waits,
    )


class _Landed:
    """When the events of each bronze version came to Kafka, in seconds since 1970.

    Read once a minute while the flows run: by the end a quiet shop's first commits and files
    are gone. Reading each commit as it comes would make the flows slower.
    """

    def __init__(self, uri: str) -> None:
        self._uri, self._upto, self._looked = uri, -1, time.monotonic()
        self.times: dict[int, list[Latencies]] = defaultdict(list)

    def look(self, *, at_end: bool = False) -> None:
        """Read what was committed since the last look, if that is a minute ago."""
        if time.monotonic() - self._looked < 60 and not at_end:
            return
        self._looked = time.monotonic()
        if not DeltaTable.is_deltatable(self._uri):
            return  # on a busy machine a first start takes minutes
        version = current(self._uri).version()
        steps = [*increments(self._uri, self._upto, version, 1)]
        files = {file: step.version for step in steps for file in step.files}
        self._upto = version
        if not files:
            return
        found = duckdb.execute(
            "SELECT filename, list(epoch_us(kafka_time) / 1e6) FROM "
            "read_parquet($files, filename=true) GROUP BY filename",
            {"files": [*files]},
        ).fetchall()
        for file, times in found:
            self.times[files[file]].append(np.asarray(times, np.float64))


def _latencies(landed: _Landed, seen_log: Path) -> tuple[Latencies, Latencies, int]:
    """Each event's Kafka time and its wait, both in seconds; and how many bronze versions."""
    times, waits, left = [], [], sorted(landed.times, reverse=True)
    version = -1
    for step in map(json.loads, seen_log.read_text().splitlines()):
        version = step["version"]
        while left and left[-1] <= version:
            for some in landed.times[left.pop()]:
                times.append(some)
                waits.append(step["time"] - some)
    return np.concatenate(times), np.concatenate(waits), version
