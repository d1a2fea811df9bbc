"""The one place where a process is started: words to a program, through no shell.

A Python that we start, or that what we start starts, imports nothing from the working folder: a
``json.py`` that a stranger left there does not run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""For the environment of every process: what ``-P`` says to one Python."""
_LAST = 10
"""How much a process that gives way is behind others, as nice(1) counts."""


def python(*words: str) -> list[str]:
    """The command of a Python as ours is."""
    return [sys.executable, "-P", *words]


def own_environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a Python that imports what we do, from where we do."""
    path = os.pathsep.join(filter(None, sys.path))
    return {**(os.environ if given is None else given), "PYTHONPATH": path}


def started(
    words: Sequence[str], *, env: Mapping[str, str] | None = None, **more: Any
) -> subprocess.Popen[bytes]:
    """A process of its own session: Ctrl-C is for us, who end it."""
    return subprocess.Popen(  # noqa: S603  # words of ours, never a line for a shell
        words, env=_environment(env), start_new_session=True, **more
    )


def finished(
    words: Sequence[str], *, env: Mapping[str, str] | None = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    """A process that has ended: its exit code, and what it said, as text."""
    more = {"check": False, "stdin": subprocess.DEVNULL, **more}
    return subprocess.run(  # noqa: PLW1510, S603  # `check` is among the rest; words of ours
        words, env=_environment(env), capture_output=True, text=True, **more
    )


def give_way(*, alone: bool) -> None:
    """Leave the processor to others where it is short.

    Linux may share it among sessions first: one that this process is ``alone`` in gives way too.
    """
    os.nice(_LAST)
    if alone:
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(_LAST), "ascii")


def forked() -> int:
    """Go on in a copy of this process too: 0 there, its number here. No thread may run yet."""
    return os.fork()


def _environment(given: Mapping[str, str] | None) -> dict[str, str]:
    return {**(os.environ if given is None else given), **SAFE_PATH}
