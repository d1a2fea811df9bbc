"""The command: lists, bytes, verdicts and replays by address, and what it refuses."""

import json

import pytest
from typer.testing import CliRunner

from lakehouse.cli.app import app
from lakehouse.core.errors import Exit, TableMissing, UsageError
from tests.support.lake import Lake, left_alone
from tests.support.quarantined import (
    quarantined,
)


@pytest.fixture
def lake(quarantined_root, settings):
    return left_alone(quarantined_root, settings)


def run(lake, *words, code=Exit.OK, **environment):
    words = ["quarantine", *words, "--root", lake.settings.lake.root]
    done = CliRunner().invoke(app, words, env={k: str(v) for k, v in environment.items()})
    if isinstance(done.exception, SystemExit | type(None)):
        assert done.exit_code == code, done.output
        return done.stdout
    raise done.exception


def cure(**more):
    return {"LAKEHOUSE_SALES_EARLIEST": "1990-01-01", **more}


def test_list_is_filtered_and_capped(lake):
    found = json.loads(run(lake, "list", "--json"))["sales"]
    assert [row["address"] for row in found] == [f"sales/0/{n}" for n in (1, 2, 4, 5, 6)]
    found = json.loads(run(lake, "list", "--verdict", "UTF-8", "--json"))["sales"]
    assert [row["beginning"] for row in found] == ["{\\xff"]
    text = run(lake, "list", "--limit", "2")
    assert "2 OF 5" in text
    for verb in ("list", "stats"):
        assert "0 of 5 have a verdict like 'zzz'\n" in run(lake, verb, "--verdict", "zzz")
    assert "sales/0/4" not in text
    run(lake, "replay", "--json", **cure())
    assert len(json.loads(run(lake, "list", "--json"))["sales"]) == 1
    assert len(json.loads(run(lake, "list", "--replayed", "--json"))["sales"]) == 5


def test_show_gives_the_bytes_and_both_verdicts(lake):
    found = json.loads(run(lake, "show", "sales/0/1", "--json", **cure()))
    assert json.loads(found["value"]["text"])["event_id"] == "old1"
    assert found["passes_now"]
    assert "is before 2000-01-01" in found["verdict"]
    assert found["headers"] == [{"key": "h", "value": {"text": "v", "bytes": 1}}]
    found = json.loads(run(lake, "show", "0/2", "--json"))
    assert found["value"] == {"hex": "7bff", "bytes": 2}
    text = run(lake, "show", "0/2")
    assert "00000000  7b ff" in text
    assert "{." in text
    run(lake, "replay", "0/1", **cure())
    assert "into bronze version 3" in run(lake, "show", "0/1")


def test_what_data_says_is_never_obeyed(settings):
    lake = Lake(settings)
    lake.land([b'{"event_id": "\x1b[2J\xe2\x80\xae"'], 0)
    for words in (["list"], ["show", "0/0"], ["list", "--json"], ["show", "0/0", "--json"]):
        text = run(lake, *words)
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_stats_say_what_passes_now(lake):
    found = json.loads(run(lake, "stats", "--json", **cure()))["sales"]
    assert [(r["verdict"].strip(), r["quarantined"], r["pass_now"]) for r in found] == [
        ("'event_time' is before 2000-01-01", 4, 4), ("the value is not UTF-8", 1, 0),
    ]  # fmt: skip
    run(lake, "replay", **cure())
    found = json.loads(run(lake, "stats", "--json"))["sales"]
    assert [(r["quarantined"], r["replayed"]) for r in found] == [(1, 0), (0, 4)]


def test_replay_by_address_says_no_where_it_breaks_still(lake):
    assert (
        json.loads(run(lake, "replay", "0/2", "--json", code=Exit.FAULT))["sales"]["refused"] == 1
    )
    run(lake, "replay", "sales/0/1", "sales/0/5", **cure())
    assert quarantined_after(lake) == [2, 4, 6]
    run(lake, "replay", "sales/0/1", **cure())
    assert quarantined_after(lake) == [2, 4, 6], "again is no fault, and changes nothing"


def quarantined_after(lake):
    lake.restart()
    return quarantined(lake)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["show", "1"], UsageError), (["show", "other/0/1"], UsageError),
        (["show", "0/99"], UsageError), (["replay", "0/99"], UsageError),
        (["replay", "-1/2"], UsageError), (["show", "../../etc/passwd"], UsageError),
    ],
)  # fmt: skip
def test_wrong_addresses_are_told(lake, words, error):
    if words[1].startswith("-"):
        words = [words[0], "--", words[1]]
        with pytest.raises(error):
            CliRunner().invoke(app, ["quarantine", words[0], "--root", lake.settings.lake.root,
                                     *words[1:]], catch_exceptions=False)  # fmt: skip
        return
    with pytest.raises(error):
        run(lake, *words)


def test_no_quarantine_is_said(tmp_path):
    with pytest.raises(TableMissing):
        CliRunner().invoke(
            app, ["quarantine", "stats", "--root", str(tmp_path)], catch_exceptions=False
        )
