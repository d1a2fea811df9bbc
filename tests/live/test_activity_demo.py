"""The demo of activity as a stranger runs it, and the notebook on its lake."""

import re

import pytest

from tests.support.notebooks import outputs, pictures

pytestmark = pytest.mark.live


def test_the_demo_accounts_for_every_event_and_the_notebook_draws_it(
    demonstrate, tmp_path, monkeypatch
):
    root, topic = tmp_path / "lake", "demo-activity"
    done = demonstrate(
        "activity", "--count", 3000, "--root", root, LAKEHOUSE_ACTIVITY_TOPIC=topic,
        LAKEHOUSE_ACTIVITY_ENRICHED_TOPIC=f"{topic}-enriched",
    )  # fmt: skip
    verdicts = re.findall(r"^PROVEN: ([\d,]+) of \1 records, content of all$", done.stdout, re.M)
    assert len(verdicts) == 1, done.stdout
    assert "DIFFERS" not in done.stdout
    assert re.search(r"the enriched topic, each once +[\d,]+ +[\d,]+ +ok", done.stdout), done.stdout

    assert pictures(outputs("activity_analysis", root, monkeypatch)) >= 3
