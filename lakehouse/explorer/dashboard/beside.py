"""What the process that runs the flows counts, asked over loopback: stages, memory, readiness."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from http.client import HTTPException
from typing import Any
from urllib.request import Request, urlopen

from prometheus_client.parser import text_string_to_metric_families

from lakehouse.core.exposition import OWN
from lakehouse.core.metrics import PREFIX

_WINDOW = 60.0
"""Seconds over which times of batches are shown."""
_WAIT = 1.0
_STAGES = PREFIX + "batch_stage_seconds"
Numbers = dict[tuple[str, tuple[str, ...]], float]


class Beside:
    """Asks one address, which this program was given; nothing where there is none."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._seen: deque[tuple[float, Numbers]] = deque()

    def told(self) -> dict[str, Any] | None:
        """Stages of batches in the last minute, and memory; None where nobody answers."""
        if not self._address:
            return None
        try:
            now = _numbers(self._get(OWN))
        except (OSError, HTTPException, ValueError):
            self._seen.clear()
            return None
        moment = time.monotonic()
        self._seen.append((moment, now))
        while len(self._seen) > 1 and moment - self._seen[1][0] > _WINDOW:
            self._seen.popleft()
        before = self._seen[0][1] if len(self._seen) > 1 else {}
        memory = {"flows": now.get(("process_resident_memory_bytes", ()), 0.0)}
        memory |= {
            labels[0]: size
            for (name, labels), size in now.items()
            if name == PREFIX + "child_memory_bytes" and size
        }
        return {"stages": _stages(now, before), "memory": memory}

    def _get(self, path: str) -> str:
        request = Request(self._address + path)  # noqa: S310  # loopback, as we were given it
        with urlopen(request, timeout=_WAIT) as answer:  # noqa: S310  # as above
            return str(answer.read().decode())


def _numbers(text: str) -> Numbers:
    return {
        (s.name, tuple(s.labels[n] for n in sorted(s.labels))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
        if not s.name.endswith("_bucket")
    }


def _stages(now: Numbers, before: Numbers) -> list[dict[str, Any]]:
    """Mean seconds of each stage, by flow, of the batches between two looks."""
    found = []
    for (name, labels), count in now.items():
        if name != f"{_STAGES}_count":
            continue
        spent = now[f"{_STAGES}_sum", labels] - before.get((f"{_STAGES}_sum", labels), 0.0)
        batches = count - before.get((name, labels), 0.0)
        flow, stage = labels
        with suppress(ZeroDivisionError):
            found.append({"flow": flow, "stage": stage, "batches": batches,
                          "seconds": spent / batches})  # fmt: skip
    return found
