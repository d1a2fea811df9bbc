"""Tasks that run the command line, in its own environment: its exit codes become task states.

0 is success. A service that is away, a table that another process writes, a time limit or an answer
that cannot be given yet (3 to 6) is tried again, as the task's ``retries`` say. A fault in the data
or in the arguments (1, 2) fails at once: to try again would say the same.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

COMMAND = os.environ.get(
    "LAKEHOUSE_COMMAND", str(Path(__file__).resolve().parents[1] / ".venv/bin/lakehouse")
)
"""Where the command is: the project's own environment, unless the variable says another."""
RETRIES: dict[str, Any] = {"retries": 3, "retry_delay": timedelta(minutes=1)}
"""What tasks have where the DAG says nothing else."""
_AGAIN = {
    3: "cannot be told yet",
    4: "took too long",
    5: "a service is away",
    6: "a table is locked",
}


def lakehouse(*words: str) -> str:
    """Run a verb; gives what it wrote on stdout. Its narration is in the task's log."""
    print(" ".join(["lakehouse", *words]), flush=True)  # Airflow's log of the task
    done = subprocess.run([COMMAND, *words], stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603  # our own words
    print(done.stdout)  # likewise
    if done.returncode in _AGAIN:
        raise AirflowException(f"exit {done.returncode}: {_AGAIN[done.returncode]}")
    if done.returncode:
        raise AirflowFailException(f"exit {done.returncode}: see the log above")
    return done.stdout


def options(params: dict[str, Any], names: Sequence[str] = ("root", "config")) -> list[str]:
    """Options of the command line for those parameters of a run that say something."""
    return [word for name in names if params.get(name) for word in (f"--{name}", str(params[name]))]
