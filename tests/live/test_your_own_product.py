"""A product of another package: found, landed through Kafka, proven by its declarations, read."""

import json
import shutil
import tomllib

import pytest

from tests.live.conftest import ROOT, command

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]
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


@pytest.fixture(scope="module")
def lakehouse(installed, kafka, tmp_path_factory):
    """The command, where the example is installed, on a lake and a topic of its own."""
    root = tmp_path_factory.mktemp("weather") / "lake"
    environment = {
        "PYTHONPATH": f"{installed}:{ROOT}",
        "LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "LAKEHOUSE_LAKE_ROOT": str(root),
    }

    def run(*words, **more):
        return command(*words, timeout=400, **environment, **more)

    run("produce", "weather", "--count", COUNT)
    run("run", "weather.bronze", "weather.silver", "--available-now")
    return run


def test_it_is_small():
    lines = {p.name: len(p.read_text("utf-8").splitlines()) for p in EXAMPLE.glob("*.py")}
    assert lines["weather.py"] < 80
    assert lines["weather_stations.py"] <= 42


def test_it_is_listed(lakehouse):
    found = {p["product"]: p for p in json.loads(lakehouse("products", "--json").stdout)}
    assert set(found) == {"sales", "orders", "weather"}
    assert found["weather"]["flows"] == ["weather.bronze", "weather.silver"]
    assert found["weather"]["topics"] == ["weather"]
    assert "silver.weather_by_region" in found["weather"]["tables"]
    assert found["weather"]["state"] == "5 of 6 tables are there"  # nothing was erased
    assert found["sales"]["state"] == "not begun"


def test_it_is_proven_by_its_declarations(lakehouse):
    proof = json.loads(lakehouse("audit", "weather", "--content", "all", "--json").stdout)[
        "weather"
    ]
    assert proof["verdict"] == "PROVEN"
    assert proof["is_by_declaration"] is True
    bronze, refused = (sum(p[n] for p in proof["account"]["partitions"]) for n in
                       ("bronze", "quarantine"))  # fmt: skip
    assert bronze + refused == COUNT
    assert refused > 0
    assert {t["table"]: t["differing"] for t in proof["tables"]} == {
        "silver.weather_by_region": 0, "silver.weather_stations": 0, "ledger.weather": 0,
    }  # fmt: skip
    assert "less independent" in " ".join(lakehouse("audit", "weather").stdout.split())


def test_it_is_explored(lakehouse):
    sql = "SELECT region, sum(readings) AS n, max(stations) AS stations FROM "
    sql += "silver.weather_by_region GROUP BY region ORDER BY region"
    rows = json.loads(lakehouse("explore", "--sql", sql, "--format", "json").stdout)["rows"]
    assert [(r["region"], r["stations"]) for r in rows] == [("north", 2), ("south", 2)]
    assert sum(int(r["n"]) for r in rows) > COUNT * 0.9
    report = json.loads(lakehouse("explore", "--batch", "--format", "json").stdout)
    assert {"weather_by_region", "weather_quality", "weather_quarantine"} <= report.keys()
    assert report["weather_quarantine"][0]["verdict"] == "'rain' is negative"


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
