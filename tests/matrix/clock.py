"""A wall clock that can be stepped under one process and its children, while they run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.matrix.stage import Skipped


class Clock:
    """Give ``environment`` to a process, then :meth:`step` its clock."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise Skipped("no C compiler: clock.c cannot be built")
        self._shift, library = folder / "clock", folder / "clock.so"
        self.step(0)
        source = Path(__file__).with_suffix(".c")
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source)], check=True
        )
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_STEP": str(self._shift)}

    def step(self, seconds: int) -> None:
        """From now on the clock is so many seconds ahead of the real one, or behind it."""
        mode = "r+b" if self._shift.exists() else "wb"  # in place: the page is mapped
        with self._shift.open(mode) as out:
            out.write(seconds.to_bytes(8, "little", signed=True))
