"""A product of another package: found, landed through Kafka, proven by its declarations, read."""

import json
import os
import shutil
import signal
import subprocess
import time
import tomllib

import pytest
from deltalake import DeltaTable

from lakehouse.products.registry import products
from tests.live.conftest import LAKEHOUSE, ROOT, command, sales_from, verb
from tests.support.copies_of_one import copies_of_one

pytestmark = pytest.mark.live
EXAMPLE = ROOT / "examples" / "weather"
COUNT = 600


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder of packages that holds the example, as an installer leaves it."""
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))
    for name in project["tool"]["setuptools"]["py-modules"]:
        shutil.copy(EXAMPLE / f"{name}.py", site)
    info = site / "lakehouse_weather-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lakehouse-weather\nVersion: 1.0\n")
    entries = project["project"]["entry-points"]["lakehouse.products"]
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[lakehouse.products]", *lines]) + "\n")
    return site


SQL = """SELECT region, sum(readings) AS n, max(stations) AS stations
FROM silver.weather_by_region GROUP BY region ORDER BY region"""
ASKED = {
    "products": ["products", "--json"],
    "proof": ["audit", "weather", "--content", "all", "--json"],
    "audit": ["audit", "weather"],
    "sql": ["explore", "--sql", SQL, "--format", "json"],
    "report": ["explore", "--batch", "--format", "json"],
}


@pytest.fixture(scope="module")
def told(installed, kafka, tmp_path_factory):
    """What the command says of a lake of its own, where the example is installed, by name."""
    environment = {
        "PYTHONPATH": f"{installed}:{ROOT}",
        "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "LAKEHOUSE_LAKE_ROOT": str(tmp_path_factory.mktemp("weather") / "lake"),
    }
    command("produce", "weather", "--count", COUNT, **environment)
    command("run", "weather.bronze", "weather.silver", "--available-now", **environment)
    done = copies_of_one(
        "import lakehouse.audit.run, lakehouse.cli.explore, lakehouse.explorer.report\n"
        "from lakehouse.cli.app import main",
        "main()", ASKED.values(), **environment,
    )  # fmt: skip
    assert [one.returncode for one in done] == [0] * len(done), done
    return dict(zip(ASKED, (one.stdout for one in done), strict=True))


def test_it_is_small():
    lines = {p.name: len(p.read_text("utf-8").splitlines()) for p in EXAMPLE.glob("*.py")}
    assert lines["weather.py"] < 80
    assert lines["weather_stations.py"] <= 42


def test_it_is_listed(told):
    found = {p["product"]: p for p in json.loads(told["products"])}
    assert found.keys() - products().keys() == {"weather"}
    assert found["weather"]["flows"] == ["weather.bronze", "weather.silver"]
    assert found["weather"]["topics"] == ["weather"]
    assert "silver.weather_by_region" in found["weather"]["tables"]
    assert found["weather"]["state"] == "6 of 7 tables are there"  # nothing was erased
    assert found["sales"]["state"] == "not begun"


def test_it_is_proven_by_its_declarations(told):
    proof = json.loads(told["proof"])["weather"]
    assert proof["verdict"] == "PROVEN"
    assert proof["is_by_declaration"] is True
    bronze, refused = (sum(p[n] for p in proof["account"]["partitions"]) for n in
                       ("bronze", "quarantine"))  # fmt: skip
    assert bronze + refused == COUNT
    assert refused > 0
    assert {t["table"]: t["differing"] for t in proof["tables"]} == {
        "silver.weather_by_region": 0, "silver.weather_by_ten_minutes": 0,
        "silver.weather_stations": 0, "ledger.weather": 0,
    }  # fmt: skip
    assert "less independent" in " ".join(told["audit"].split())


def test_it_is_explored(told):
    rows = json.loads(told["sql"])["rows"]
    assert [(r["region"], r["stations"]) for r in rows] == [("north", 2), ("south", 2)]
    assert sum(int(r["n"]) for r in rows) > COUNT * 0.9
    report = json.loads(told["report"])
    assert {"weather_by_region", "weather_quality", "weather_quarantine"} <= report.keys()
    assert report["weather_quarantine"][0]["verdict"] == "'rain' is negative"


def has_rows(root, *tables):
    """Whether each of these tables is there and holds rows."""
    paths = [str(root / table) for table in tables]
    return all(DeltaTable.is_deltatable(p) and DeltaTable(p).file_uris() for p in paths)


def test_up_runs_two_products_side_by_side_and_ctrl_c_drains_both(installed, kafka, tmp_path):
    """Its sources end first, and all that they sent has landed."""
    root = tmp_path / "lake"
    environment = {
        "PYTHONPATH": f"{installed}:{ROOT}",
        **sales_from(kafka, "up-sales"),
        "LAKEHOUSE_LAKE_ROOT": str(root),
        "LAKEHOUSE_WEATHER_TOPIC": "up-weather",
    }
    verb("produce", "sales", "--count", 500, **sales_from(kafka, "up-sales"))
    log = tmp_path / "log"
    with log.open("wb") as out:
        up = subprocess.Popen(
            [*LAKEHOUSE, "up", "weather", "sales", "--rate", "50"], cwd=ROOT, stdout=out,
            stderr=out, env={**os.environ, **environment},
        )  # fmt: skip
    try:
        wanted = ("silver/sales_by_country", "silver/weather_by_region")
        deadline = time.monotonic() + 240
        while not has_rows(root, *wanted):
            assert up.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.5)
        up.send_signal(signal.SIGINT)
        assert up.wait(200) == 0, log.read_text()[-2000:]
    finally:
        if up.poll() is None:
            up.kill()
            up.wait()
    said = log.read_text()
    assert "stopping: what was sent is landed first" in said
    assert "all that was sent has landed" in said
    assert "Traceback" not in said
    assert "Exception:" not in said
    proofs = json.loads(command("audit", "--caught-up", "--json", **environment).stdout)
    assert {name: proof["verdict"] for name, proof in proofs.items()} == {
        "sales": "PROVEN", "weather": "PROVEN",
    }  # fmt: skip


def test_a_wrong_declaration_stops_every_command_before_anything_runs(installed, tmp_path):
    site = shutil.copytree(installed, tmp_path / "site")
    (site / "weather.py").write_text(
        (site / "weather.py").read_text("utf-8").replace('"sum(rain)"', '"avg(rain)"'), "utf-8"
    )
    done = command("run", "weather.bronze", check=False, PYTHONPATH=f"{site}:{ROOT}")
    assert done.returncode == 2
    assert "silver.weather_by_region, measure 'rain'" in done.stderr
    assert "does not add up" in done.stderr
    assert "fix: " in done.stderr
    assert "Traceback" not in done.stderr
