"""The DAGs run by a real Airflow, in its own environment: `make airflow` makes that."""

import csv
import itertools
import json
import os
import subprocess
from datetime import UTC, datetime

import pytest

from producers.churn import table
from producers.churn.customers import Customers
from tests.live.conftest import LAKEHOUSE, ROOT, command

pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.timeout(1800)]
AIRFLOW = ROOT / ".venv-airflow" / "bin" / "airflow"


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    """A function that runs a DAG whole, with the parameters of a run; gives its exit and log."""
    if not AIRFLOW.exists():
        pytest.skip("Airflow's own environment is not there: make airflow")
    home = tmp_path_factory.mktemp("airflow")
    environment = {**os.environ, "AIRFLOW_HOME": str(home)}

    def run(*words):
        return subprocess.run(
            [ROOT / "dags" / "airflow", *words], capture_output=True, text=True, env=environment,
            timeout=1500, check=False,
        )  # fmt: skip

    assert run("db", "migrate").returncode == 0
    return lambda dag, **params: run("dags", "test", dag, "--conf", json.dumps(params))


@pytest.fixture(scope="module")
def place(kafka, tmp_path_factory):
    """A lake with a model, a config.ini that names the broker, and a file of customers."""
    folder = tmp_path_factory.mktemp("place")
    config, file = folder / "config.ini", folder / "customers.csv"
    config.write_text(
        f"[kafka]\nbootstrap_servers = {kafka}\n"
        "[churn]\ntopic = af.raw\ndeadletter_topic = af.dead\n"
        "[churn_predictions]\ntopic = af.said\n"
    )
    with file.open("w", newline="") as out:
        rows = csv.DictWriter(out, table.COLUMNS)
        rows.writeheader()
        rows.writerows(one.facts for one in itertools.islice(Customers(3), 300))
    given = {"root": str(folder / "lake"), "config": str(config)}
    command("churn", "train", "--root", given["root"], "--config", config)
    return file, given


def is_done(done):
    """Whether the run ended well; Airflow tells it in its log."""
    assert "state=success" in done.stdout, done.stdout[-4000:] + done.stderr[-4000:]


def test_a_file_is_sent_scored_and_summarised_and_again_changes_nothing(airflow, place):
    file, given = place
    for _ in range(2):
        is_done(airflow("churn_batch", csv=str(file), **given))
    sql = "SELECT count(*) AS n FROM bronze.churn_predictions"
    words = ("explore", "--root", given["root"], "--format", "json", "--sql", sql)
    assert '"n": 300' in command(*words).stdout


def test_a_fault_fails_at_once(airflow, place):
    done = airflow("churn_batch", csv="/nowhere.csv", **place[1])
    assert "exit 2: see the log above" in done.stdout
    assert "state=failed" in done.stdout
    assert "cannot be read" in done.stdout + done.stderr


def test_customers_are_sent_and_the_scorer_keeps_up(airflow, place):
    _, given = place
    words = ("churn", "score", "--root", given["root"], "--config", given["config"])
    with subprocess.Popen([*LAKEHOUSE, *words], cwd=ROOT) as scorer:
        try:
            is_done(airflow("churn_streaming", count=20, rate=1000, wait=120, **given))
        finally:
            scorer.terminate()


def test_every_product_is_cared_for_and_backed_up(airflow, place, tmp_path):
    _, given = place
    is_done(airflow("lakehouse_care", backups=str(tmp_path), **given))
    [made] = tmp_path.iterdir()
    assert made.name.startswith(f"{datetime.now(UTC):%Y}")
    assert (made / "bronze" / "churn_predictions").is_dir()
