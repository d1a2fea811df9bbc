"""Records that a changed setting cures, and their replay."""

import shutil
from datetime import date
from pathlib import Path

from lakehouse.audit.proof import Verdict
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.sql import read
from lakehouse.operations.quarantine import Choice
from lakehouse.operations.replay_quarantine import replay
from tests.conftest import NOW, encode, sale
from tests.support.audited import Kafka, proof
from tests.support.copies_of_one import copies_of_one
from tests.support.lake import assert_silver_is_a_function_of_bronze

OLD = "1999-06-01T10:00:00Z"
"""Before [sales] earliest: a fault that a changed setting cures."""
ROOT = Path(__file__).parents[2]


def cured(settings):
    """The settings whose rules let OLD pass."""
    return settings.changed(sales={"earliest": date(1990, 1, 1)})


def events():
    """Offsets 0 to 6: good, old, broken, good, old copy of 0, old twice."""
    return [
        *encode(sale(event_id="a"), sale(event_id="old1", event_time=OLD, order_id="o9")),
        b"{\xff",
        *encode(
            sale(event_id="b", order_id="o2"),
            sale(event_id="a", event_time=OLD),
            sale(event_id="old2", event_time=OLD, client_id="c7"),
            sale(event_id="old2", event_time=OLD, client_id="c7"),
        ),
    ]


def again(lake, choice=None, settings=None):
    """Replay as a process of its own would, then open the lake again."""
    done = replay("sales", settings or cured(lake.settings), choice or Choice(), NOW)
    lake.restart()
    return done


def offsets(lake, table, where="true"):
    rows = lake.rows(table)
    return sorted(rows.query(where)["offset"] if where != "true" else rows["offset"])


def quarantined(lake):
    """Offsets that the explorer still counts as quarantined."""
    sql = 'SELECT "offset" FROM quarantine.sales WHERE replayed_version IS NULL ORDER BY 1'
    catalogue = Catalogue(lake.settings.lake.root)
    return read(catalogue, sql, lake.settings.explorer)["offset"].to_pylist()


def assert_proven(lake, end=7):
    lake.fold()
    found = proof(lake, Kafka(end=end))
    assert found.faults == found.doubts == ()
    assert found.verdict is Verdict.PROVEN
    assert_silver_is_a_function_of_bronze(lake)
    return found


LOADED = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from lakehouse.operations.quarantine import Choice
from lakehouse.operations.replay_quarantine import replay
from lakehouse.products.registry import load_settings
from lakehouse.storage import table as delta
from tests.conftest import NOW
from tests.support.quarantined import ROOT, cured
"""
DIES = """
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def dies_after(work):
    def both(*words, **named):
        work(*words, **named)
        die()
    return both

step, root = sys.argv[1:]
Table = delta.Table
if step == "before the marks":
    Table.mark = die
if step == "marks written, not committed":
    written = delta.rewritten
    def cut(*words, **named):
        written(*words, **named)
        die()
    delta.rewritten = cut
if step == "marks committed":
    Table.mark = dies_after(Table.mark)
if step == "bronze's files written":
    write = delta.write_files
    def cut(*words):
        write(*words)
        die()
    delta.write_files = cut
if step == "bronze committed":
    Table.append = dies_after(Table.append)
settings = cured(load_settings(ROOT / "config.ini").with_root(Path(root)))
replay("sales", settings, Choice(), NOW)
"""


def killed(root, folder, steps):
    """Step → the root of a copy of the lake in which a replay was killed there."""
    roots = {step: shutil.copytree(root, folder / f"{n}") for n, step in enumerate(steps)}
    done = copies_of_one(LOADED, DIES, [[step, at] for step, at in roots.items()])
    assert [one.returncode for one in done] == [-9] * len(steps), done
    return roots
