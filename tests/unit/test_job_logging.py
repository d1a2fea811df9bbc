"""A deployed job narrates as [logging] says."""

import json
from pathlib import Path

import pytest

from lakehouse.products.registry import flows
from lakehouse.runtime.job import main
from tests.conftest import encode, sale
from tests.support.lake import Lake, cut_log

CONFIG = Path(__file__).parents[2] / "config.ini"


@pytest.fixture
def said(settings, monkeypatch, capsys):
    """What a silver job says that has something to warn of."""
    lake = Lake(settings)
    for n in range(2):
        lake.land(encode(sale(event_id=f"e{n}")), n)
    cut_log(lake.bronze.bronze.uri)
    monkeypatch.setenv("LAKEHOUSE_CONFIG", str(CONFIG))
    monkeypatch.setenv("LAKEHOUSE_LAKE_ROOT", settings.lake.root)

    def said(**logging):
        for key, value in logging.items():
            monkeypatch.setenv(f"LAKEHOUSE_LOGGING_{key.upper()}", value)
        capsys.readouterr()
        main(["sales.silver"], ["--available-now"])
        return capsys.readouterr().err

    return said


def test_json_where_nothing_is_said(said):
    events = [json.loads(line) for line in said().splitlines()]
    assert "rebuilt from all of bronze" in [event["event"] for event in events]


def test_the_level_is_the_settings(said):
    assert said(level="error") == ""


def test_the_format_is_the_settings(said):
    text = said(format="console")
    assert "rebuilt from all of bronze" in text
    assert '{"' not in text


def test_every_flow_has_a_job_that_names_it():
    jobs = {path.name: path.read_text() for path in (CONFIG.parent / "jobs").glob("[a-z]*.py")}
    due = {f"{flow.name.replace('.', '_')}.py": flow.name for flow in flows()}
    assert jobs.keys() == due.keys()
    assert all(f'main(["{name}"], sys.argv[1:])' in jobs[job] for job, name in due.items())
