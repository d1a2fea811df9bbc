"""One command as a process of its own: its answer, wall time, CPU seconds and peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class Run:
    """What one process did. Memory is the sum of PSS over its tree, in MB."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    answer: Mapping[str, Any]


class Meter:
    """CPU seconds and memory of a process and all that it started, sampled while it runs."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._cpu: dict[tuple[int, float], float] = {}
        self.peak_mb = self.own_mb = 0.0
        """Most memory of the tree; and of what was seen last, what no file backs."""

    def sample(self) -> float:
        """Look once; the memory of the tree now, in MB."""
        total = own = 0.0
        try:
            tree = [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            return total
        for process in tree:
            try:
                times = process.cpu_times()
                self._cpu[process.pid, process.create_time()] = times.user + times.system
                pss, of_files = _memory(process.pid)
                total, own = total + pss, own + pss - of_files
            except (psutil.Error, OSError):
                continue
        self.peak_mb, self.own_mb = max(self.peak_mb, total), own
        return total

    @property
    def cpu_seconds(self) -> float:
        """User and system time of every process seen, to its last sample."""
        return sum(self._cpu.values())


def _memory(pid: int) -> tuple[float, float]:
    """MB of one process, and of these the pages of files that it maps: the kernel takes them back.

    A page that several processes have counts for each by its share.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()[1:]
    kb = {name: int(rest.split()[0]) for name, rest in (line.split(":", 1) for line in lines)}
    return kb["Pss"] / 1e3 * 1.024, kb["Pss_File"] / 1e3 * 1.024


def python(module: str, *words: str) -> list[str]:
    """The command line of one of our modules."""
    return [sys.executable, "-m", module, *words]


def run(command: Sequence[str], environment: Mapping[str, str], timeout: float) -> Run:
    """Run a command to its end; its answer is the last line of its stdout, as JSON."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    meter = Meter(process.pid)
    while process.poll() is None:
        meter.sample()
        if time.perf_counter() - started > timeout:
            process.kill()
            process.wait()
            raise TimeoutError(f"{' '.join(command)}: no end within {timeout:g} s")
        time.sleep(SAMPLE_SECONDS)
    seconds = time.perf_counter() - started
    out = process.stdout.read() if process.stdout else ""
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}\n{out[-2000:]}")
    return Run(seconds, meter.cpu_seconds, meter.peak_mb, json.loads(out.splitlines()[-1]))
