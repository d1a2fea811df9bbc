"""Long verbs say how far they are: a bar on a terminal, lines elsewhere, nothing with --json."""

import json
import re
import sys
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lakehouse.cli.app import app
from lakehouse.cli.asking import opened
from lakehouse.core import progress as module
from lakehouse.core.progress import Counted, advance, progress, told_to
from lakehouse.explorer.app.lake import Seen, look
from lakehouse.operations.backup import backup
from lakehouse.operations.restore import restore
from tests.conftest import NOW
from tests.support.lake import left_alone
from tests.support.terminal import Terminal

DRAWN = """
import time
from lakehouse.core.progress import Counted, advance, progress
from lakehouse.core.text import say
with progress():
    advance("beginning", 0, 0)
    time.sleep(0.3)
    work = Counted("copying [red]x[/]", 40_000_000, "bytes")
    for part in range(3):
        work.add(1_000_000)
        say(f"told {part}")
        time.sleep(0.3)
print("ended")
"""


SAID = """
import threading
from lakehouse.core.progress import Counted, progress
from lakehouse.core.text import say
for _ in range(100):
    with progress():
        work = Counted("copying", 3)
        others = threading.Thread(target=lambda: [say("told") for _ in range(8)])
        work.add(1)
        others.start()
        work.add(2)
        others.join()
print("ended")
"""


@pytest.mark.parametrize(
    ("product", "checked"),
    [("activity", "activity.verify"), ("orders", "orders.verify"), ("churn", "churn.asked.verify")],
)
def test_a_verification_says_how_far_it_is(product, checked, settings, monkeypatch):
    watched = []
    Path(settings.lake.root).mkdir()

    def verify(*_):
        watched.append(advance("comparing content", 1, 2))
        return []

    monkeypatch.setattr(f"lakehouse.products.{checked}.verify", verify)
    verbs = import_module(f"lakehouse.products.{product}.verbs")
    given = [lambda *_: settings, nullcontext, nullcontext, lambda _: None]
    command = registered(verbs.commands(*given)[product], "verify")
    with pytest.raises(SystemExit):
        command(as_json=True)
    assert watched == [True]


def registered(group, name):
    """The function of a verb of a group."""
    return next(c.callback for c in group.registered_commands if c.name == name)


def verb(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_lines_say_the_end_and_now_and_then_how_much_is_left(monkeypatch):
    said, clock = [], iter([0.0, 0.0, 0.0, 1.0, 20.0, 21.0, 40.0])
    monkeypatch.setattr(module, "say", said.append)
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with progress():
        work = Counted("copying", 4_000_000, "bytes")
        for _ in range(4):
            work.add(1_000_000)
        advance("endless", 7, 0, "records")
    assert said == [
        "  copying: 3.0 MB of 4.0 MB, about 7 s left", "  copying: 4.0 MB of 4.0 MB",
    ]  # fmt: skip
    assert not advance("nobody watches", 1, 2)


def test_a_terminal_has_a_bar_below_what_is_said_and_none_at_the_end():
    with Terminal([sys.executable, "-c", DRAWN], ".") as terminal:
        terminal.wait_for("ended")
    assert "beginning" in terminal.written  # of what is not known yet how much it is
    assert "copying [red]x[/]" in terminal.written
    assert "3.0 MB of 40.0 MB" in terminal.written
    assert " s left" in terminal.written
    assert "-:--" not in terminal.written
    assert terminal.written.index("told 0") < terminal.written.index("told 2")


def test_what_another_thread_says_leaves_no_bar_behind():
    with Terminal([sys.executable, "-c", SAID], ".") as terminal:
        terminal.wait_for("ended")
    assert terminal.written.count("told\r\n") == 800
    assert not re.search("rows[^\r\n]*told", terminal.written)


def test_verbs_tell_how_far_they_are_and_nothing_with_json(recovered_root, settings, tmp_path):
    left_alone(recovered_root, settings)
    where = ["--root", settings.lake.root]
    for words, told in (
        (["maintain"], "maintaining: "), (["backup", tmp_path / "b"], "copying: "),
        (["rebuild", "sales"], "folding sales.silver: 9 of 9 rows"),
        (["repair", "bronze.sales"], "reading files whole: "),
        (["quarantine", "replay", "--dry-run"], "judging quarantine.sales: "),
    ):  # fmt: skip
        done = verb(*words, *where)
        assert told in done.stderr, (words, done.stderr)
    with opened(None, Path(settings.lake.root), None, None, None)[1] as session:
        seen = look(session, Seen())  # what was maintained lacks no row
        assert seen.behind("silver.sales_by_country") == 0
    quiet = verb("maintain", *where, "--json")
    assert "maintaining: " not in quiet.stderr
    assert json.loads(quiet.stdout)["maintained"]


def test_ctrl_c_leaves_no_half_of_a_backup_or_restore(recovered_root, settings, tmp_path):
    left_alone(recovered_root, settings)

    def interrupt(what, done, of, _):
        if what.startswith("copying") and 0 < done < of:
            raise KeyboardInterrupt

    with told_to(interrupt), pytest.raises(KeyboardInterrupt):
        backup(settings, tmp_path / "b", NOW, lambda _: None)
    assert [*tmp_path.glob("b*")] == []
    backup(settings, tmp_path / "b", NOW, lambda _: None)
    other = settings.with_root(tmp_path / "other")
    with told_to(interrupt), pytest.raises(KeyboardInterrupt):
        restore(tmp_path / "b", other, lambda _: None, force=False)
    assert not [p for p in (tmp_path / "other").iterdir() if not p.name.startswith(("_locks", "."))]
    assert restore(tmp_path / "b", other, lambda _: None, force=False)
