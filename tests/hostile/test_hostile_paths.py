"""Files that are not the lake's own: every verb on every attack, the user's files as judges."""

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import long
from tests.hostile.attacks import AGAIN, ATTACKS, OF_A_BROKER, home
from tests.hostile.verbs import (
    COSTLY,
    LEFT_OUT,
    READ,
    VERBS,
    WRITE,
    outcome,
    state_of,
    verbs_with_a_root,
)

SECRET = "c4n4ry"
PARTS, OF_READS = 3, 2
"""In `make test` an attack is given to each third verb of those that write or take long, and to
each second of the others; the next attack to the verbs after those."""


def shared_out(parts):
    """Attacks and the part of the verbs that `make test` gives each; then all other pairs."""
    first = [(attack, n % parts) for n, attack in enumerate(ATTACKS)]
    every = [(attack, part) for attack in ATTACKS for part in range(parts)]
    return first, [pair for pair in every if pair not in first]


FIRST, REST = shared_out(PARTS)
FIRST_READS, OTHER_READS = shared_out(OF_READS)


@pytest.fixture
def attacked(lake, tmp_path):
    """An attack → a function that says what a verb must not have done on a lake that has it."""

    def attack(name, verbs, *, is_copied):
        pq.write_table(pa.table({"event_id": [SECRET]}), home(lake) / "data.parquet")
        ATTACKS[name](lake)
        spoiled = tmp_path / "spoiled"
        if is_copied:
            lake.rename(spoiled)
        before, failed = state_of(home(lake)), []
        for verb in verbs:
            if is_copied:
                shutil.rmtree(lake, ignore_errors=True)
                shutil.rmtree(tmp_path / "backup", ignore_errors=True)
                _copy(spoiled, lake)
            try:
                said = outcome(verb, lake)
            except Exception as error:  # noqa: BLE001  # all verbs are tried: one report tells
                failed.append(f"{verb}: {type(error).__name__}: {error}"[:300])
                continue
            if state_of(home(lake)) != before:
                failed.append(f"{verb}: changed the user's files")
            if SECRET in said or _holds(tmp_path / "backup"):
                failed.append(f"{verb}: read the user's files")
        return failed

    return attack


@pytest.mark.parametrize(("attack", "part"), [*FIRST_READS, *long(*OTHER_READS)])
def test_no_verb_reads_or_changes_what_is_not_the_lakes(attacked, attack, part):
    verbs = [v for v in READ if v not in COSTLY][part::OF_READS]
    assert attacked(attack, verbs, is_copied=False) == []


@pytest.mark.parametrize(
    ("attack", "part"),
    [*(a for a in FIRST if a[0] not in AGAIN),
     *long(*(a for a in FIRST if a[0] in AGAIN), *REST)],
)  # fmt: skip
def test_no_verb_that_writes_does_either(attacked, attack, part, request):
    if attack not in OF_A_BROKER:
        request.getfixturevalue("asked")
    assert attacked(attack, [*COSTLY, *WRITE][part::PARTS], is_copied=True) == []


def test_a_verb_that_is_new_is_tried():
    """Each verb of the command line that opens a lake is in the table, or it is said why not."""
    assert not {*LEFT_OUT} - {*verbs_with_a_root()}
    assert {*verbs_with_a_root()} <= {*VERBS, *LEFT_OUT}


def _copy(lake, to):
    """With its links and pipes, as they are."""
    shutil.copytree(lake, to, symlinks=True, ignore=_pipes)
    for pipe in (p for p in lake.rglob("*") if p.is_fifo()):
        os.mkfifo(to / pipe.relative_to(lake))


def _pipes(folder, names):
    return [name for name in names if Path(folder, name).is_fifo()]


def _holds(folder):
    return any(SECRET.encode() in data for _, data in state_of(folder).values())
