"""The demo of churn as a stranger runs it, and what is asked of its lake; the notebook on it."""

import json
import re
import shutil

import pytest

from tests.live.conftest import verb
from tests.support.notebooks import outputs, pictures

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def demo(demonstrate, tmp_path_factory):
    """The demo's lake, and what it said."""
    root = tmp_path_factory.mktemp("churn") / "lake"
    done = demonstrate(
        "churn", "--count", 2000, "--root", root, LAKEHOUSE_CHURN_TOPIC="telco.demo.customers",
        LAKEHOUSE_CHURN_DEADLETTER_TOPIC="telco.demo.deadletter",
        LAKEHOUSE_CHURN_PREDICTIONS_TOPIC="telco.demo.predictions",
    )  # fmt: skip
    yield root, done.stdout
    shutil.rmtree(root)


def test_the_demo_accounts_for_every_record_and_is_proven(demo):
    _, said = demo
    verdicts = re.findall(r"^PROVEN: ([\d,]+) of \1 records, content of all$", said, re.M)
    assert len(verdicts) == 2, said
    assert "DIFFERS" not in said
    assert re.search(r"topic of dead letters +(\d+) +\1 +ok", said), said
    place = r"telco\.\w+\.\w+/\d/\d+"
    traced = rf"^\S+: (?:Yes|No), 0\.\d{{4}}; {place} → {place}$"
    assert len(re.findall(traced, said, re.M)) == 3


def test_a_sample_is_json_and_a_customer_is_explained(demo):
    root, _ = demo
    found = json.loads(verb("churn", "sample", "--root", root).stdout)
    assert len(found) == 10
    assert {len(one["prediction"]["contributions"]) for one in found} == {3}
    customer = found[0]["input"]["customerID"]
    said = verb("churn", "explain", customer, "--json", "--root", root).stdout
    answer = json.loads(said)
    latest = answer["predictions"][0]["prediction"]
    assert answer["why"]["probability"] == pytest.approx(latest["probability"], abs=1e-4)
    assert answer["why"]["contributions"][:3] == latest["contributions"]
    assert customer in verb("churn", "explain", customer, "--root", root).stdout


def test_the_notebook_draws_roc_calibration_and_drift(demo, monkeypatch):
    assert pictures(outputs("churn_analysis", demo[0], monkeypatch)) >= 4
