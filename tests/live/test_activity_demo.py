"""The demo of activity as a stranger runs it, and the notebook on its lake."""

import re

import pytest

from tests.live.conftest import command
from tests.support.notebooks import outputs, pictures

pytestmark = pytest.mark.live


def test_the_demo_accounts_for_every_event_and_the_notebook_draws_it(tmp_path, monkeypatch):
    root = tmp_path / "lake"
    done = command("demo", "activity", "--count", 3000, "--root", root)
    verdicts = re.findall(r"^PROVEN: ([\d,]+) of \1 records, content of all$", done.stdout, re.M)
    assert len(verdicts) == 1, done.stdout
    assert "DIFFERS" not in done.stdout
    assert re.search(r"the enriched topic, each once +[\d,]+ +[\d,]+ +ok", done.stdout), done.stdout

    assert pictures(outputs("activity_analysis", root, monkeypatch)) >= 3
