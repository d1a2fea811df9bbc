"""``lakehouse status``: how far each flow is, of tables, files and systems that are away."""

import json
import re
import shutil
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lakehouse.core.errors import Exit, ServiceUnavailable
from lakehouse.doctor.ailments import ailments_checks
from lakehouse.explorer import status as module
from lakehouse.explorer.audits import Audit
from lakehouse.explorer.concerns import LAG, MANY, OLD, concerns
from lakehouse.explorer.measured import _age
from lakehouse.explorer.observed import Observer
from lakehouse.explorer.overview import overview
from lakehouse.explorer.status import Broker, status
from lakehouse.products.registry import flows
from lakehouse.settings.sections import KafkaSettings
from lakehouse.storage.upkeep import compact
from tests.conftest import encode, sale
from tests.live.conftest import verb
from tests.support.lake import Lake
from tests.support.sinks import KAFKA, POSTGRES
from tests.support.terminal import Terminal


def test_each_flow_says_how_far_it_is_and_one_that_cannot_be_asked_why(settings, monkeypatch):
    lake = Lake(settings)
    lake.land(encode(sale()), 0)
    lake.fold()
    lake.land(encode(sale(event_id="e2"), sale(event_id="e3")), 1)
    found = {row.into: row for row in status(settings)}
    assert found["bronze.sales"].behind == 0
    silver = found["silver.sales_by_country"]
    assert (silver.flow, silver.version, silver.behind, silver.rows_behind) == (
        "sales.silver", found["bronze.sales"].version - 1, 1, 2,
    )  # fmt: skip
    assert silver.time < found["bronze.sales"].time
    assert "bronze.orders" not in found  # it has not begun
    assert (found["bronze.sales"].waiting, found["bronze.sales"].note) == (
        None, "Kafka: does not run",
    )  # fmt: skip
    [gone] = [r for r in status(settings.with_kafka("127.0.0.1:9")) if r.into == "bronze.sales"]
    assert (gone.waiting, gone.behind, "127.0.0.1:9" in gone.note) == (None, 0, True)

    monkeypatch.setattr(module, "flows", lambda: (*flows(), POSTGRES, KAFKA))
    found = {row.into: row for row in status(settings)}
    assert found["postgres.by_client"].note == "Postgres: does not run"
    assert found["topic enriched_sales"].note == "Kafka: does not run"
    away = settings.with_postgres("postgresql://127.0.0.1:9/none")
    assert (
        "Postgres at 127.0.0.1:9/none"
        in {r.into: r for r in status(away)}["postgres.by_client"].note
    )


def test_a_broker_that_was_away_while_nobody_looked_is_asked_before_it_is_told(monkeypatch):
    broker = Broker()
    broker.use(KafkaSettings(bootstrap_servers="127.0.0.1:9"))
    with pytest.raises(ServiceUnavailable):
        broker.topic("sales")
    monkeypatch.setattr(Broker, "_read", lambda *_: None)  # it is back, and has no such topic
    with pytest.raises(ServiceUnavailable):  # who looks again soon does not wait for it
        broker.topic("sales")
    monkeypatch.setattr(module, "_OLD", -module._REST)
    assert broker.topic("sales") is None


def test_as_a_verb_it_prints_what_it_knows(settings):
    Lake(settings).land(encode(sale()), 0)
    told = json.loads(verb("status", "--json", "--root", settings.lake.root).stdout)
    rows, [landed] = told["flows"], told["landed"]
    assert (landed["contract"], landed["rows"], landed["quarantined"]) == ("sales", 1, 0)
    assert "no process writes this lake now" in told["concerns"][0]["what"]
    assert {"flow": "sales.bronze", "into": "bronze.sales", "behind": 0}.items() <= rows[0].items()
    none = verb("status", "--root", f"{settings.lake.root}/none", check=False)
    assert (none.returncode, "none: does not exist" in none.stderr) == (3, True)


def test_on_one_screen_a_flows_tables_are_one_row_of_the_farthest_behind(settings):
    lake = Lake(settings)
    lake.land(encode(sale()), 0)
    lake.fold()
    lake.land(encode(sale(event_id="e2")), 1)
    seen = Observer(settings, lambda s: s).look()
    bronze, silver = overview(seen)["flows"]
    assert (bronze["into"], bronze["note"]) == ("bronze.sales", "Kafka: does not run")
    assert (silver["into"], silver["behind"]) == ("silver.sales_by_country +7", 1)
    assert len([r for r in overview(seen, is_whole=True)["flows"] if r["behind"] == 1]) == 8
    said = verb("status", "--root", settings.lake.root).stdout
    assert said.index("FLOWS") < said.index("DISK") < said.index("CONCERNS")


def test_watched_it_shows_what_one_watches_for_in_the_columns_that_there_are(settings):
    Lake(settings).land(encode(sale()), 0)
    words = [sys.executable, "-m", "lakehouse", "status", "--watch", "--root", settings.lake.root]
    with Terminal(words, ".", (120, 60)) as terminal:
        terminal.wait_for("Ctrl-C ends it", "Kafka: does not run", "DISK")
        rows = [line.rstrip() for line in terminal.written.splitlines()]
        terminal.type("\x03")  # Ctrl-C
        assert terminal.ended() == Exit.INTERRUPTED
    assert max(map(len, rows)) <= 120
    [head] = [row for row in rows if "rows_behind" in row]
    assert ("waiting" in head, "note" in head, "partitions" in head) == (True, True, True)
    assert "quarantined" in next(row for row in rows if "rows_a_second" in row)
    assert re.search(r"\d\d:\d\d:\d\d UTC", terminal.written)


def test_a_sick_lake_says_in_one_look_what_is_wrong_and_the_command_that_helps(settings):
    lake = Lake(settings)
    lake.land(encode(sale()), 0)
    lake.fold()
    lake.land([*encode(sale(event_id="e2")), *[b"{"] * (MANY + 1)], 1)
    [file, *_] = Path(settings.lake.root, "silver/sales_by_country").glob("*.parquet")
    file.unlink()
    seen = Observer(settings, lambda s: s).look()
    seen = replace(seen, locks={"bronze.sales": "sales.bronze"})  # silver's flow was stopped
    told = {concern.what: concern.fix for concern in concerns(seen)}
    root = f"--root {settings.lake.root}"
    for what, fix in (
        ("data file is missing", f"lakehouse rebuild silver.sales_by_country {root}"),
        ("sales.silver does not run, while sales.bronze does: it lacks 1 rows",
         f"lakehouse run sales.silver {root}"),
        (f"quarantine of sales grows: {MANY + 1} records in 15 minutes, 98.1 % of what came, "
         "most often not JSON", f"lakehouse quarantine stats sales {root}"),
    ):  # fmt: skip
        [found] = [said for said in told if what in said]
        assert told[found].startswith(fix), found
    shutil.rmtree(Path(settings.lake.root, "bronze/sales/_delta_log"))
    [_, gone, *_] = concerns(Observer(settings, lambda s: s).look())
    assert gone.what.startswith("bronze.sales is not there, though silver.sales_by_client is")
    assert gone.fix.endswith(f"lakehouse restore BACKUP {root}")


def test_a_quarantine_that_grows_by_what_is_usual_is_no_concern(settings):
    lake = Lake(settings)
    good = encode(*(sale(event_id=f"e{n}") for n in range(100 * MANY)))
    lake.land([*good, *[b"{"] * (MANY + 1)], 0)
    seen = Observer(settings, lambda s: s).look()
    assert seen.landings["sales"].recent[-1].quarantined == MANY + 1
    assert [c.what for c in concerns(seen) if "quarantine" in c.what] == []


def test_compaction_alone_leaves_nobody_behind(settings):
    """A flow that rests for some minutes after its bronze was compacted lacks nothing."""
    lake = Lake(settings)
    for number in range(2):
        lake.land(encode(sale(event_id=f"e{number}")), number)
    lake.fold()
    compact(lake.bronze.bronze)
    seen = Observer(settings, lambda s: s).look()
    version = lake.bronze.bronze.version
    assert {row.version for row in seen.flows if row.flow == "sales.silver"} == {version - 1}
    later = replace(
        seen, at=seen.at + timedelta(hours=1), locks={"bronze.sales": "sales.bronze+sales.silver"}
    )
    assert [c.what for c in concerns(later) if "sales.silver" in c.what] == []
    assert {age for (flow, _), age in _age(later) if flow == "sales.silver"} == {0.0}
    lake.land(encode(sale(event_id="e3")), 2)
    later = replace(Observer(settings, lambda s: s).look(), at=later.at, locks=later.locks)
    [told] = [c.what for c in concerns(later) if "sales.silver" in c.what]
    assert "as it was 60 minutes ago" in told


def test_what_waits_what_is_away_and_a_clock_that_is_wrong_are_said(settings):
    Lake(settings).land(encode(sale()), 0)
    root, hour = f"--root {settings.lake.root}", timedelta(hours=1)
    seen = Observer(settings, lambda s: s).look()
    [bronze, *rest] = seen.flows
    kept = Audit(seen.at - OLD - hour, "PROVEN", (), *[0] * 11)
    runs = {"bronze.sales": "sales.bronze"}

    def told(locks=None, **row):
        flows = (replace(bronze, **row), *rest)
        return concerns(replace(seen, flows=flows, locks=locks or {}))

    def said(found):
        return {concern.what: (concern.level, concern.fix) for concern in found}

    few, many = (
        {"waiting": 7, "partitions": {0: 7}},
        {"waiting": LAG + 7, "partitions": {3: LAG + 7}},
    )
    assert said(told(**few))["sales.bronze does not run: 7 records of its topic wait"] == (
        "look", f"lakehouse run sales.bronze {root}",
    )  # fmt: skip
    assert not any("its topic" in what for what in said(told(runs, **few)))  # it lands them now
    [lag] = [what for what in said(told(runs, **many)) if "lags" in what]
    assert lag.endswith("1,000,007 in partition 3")
    hangs = concerns(replace(seen, at=seen.at + hour, flows=(replace(bronze, **few),), locks=runs))
    [(what, (level, fix))] = [one for one in said(hangs).items() if "last batch" in one[0]]
    assert "7 records of its topic wait and its last batch is 60 minutes old" in what
    assert "_locks/bronze.sales.lock" in fix

    for note, locks, level, fix in (
        ("Kafka at host:9: does not answer", None, "look", "mend its address in config.ini"),
        ("Kafka at host:9: does not answer", runs, "bad", "[services] patience"),
        ("topic sales: was recreated", runs, "bad", f"lakehouse accept-gap sales {root}"),
        ("Kafka: does not run", runs, "bad", "[services] patience"),
    ):
        found = said(told(locks, note=note))[note]
        assert (found[0], fix in found[1]) == (level, True), found
    assert "Kafka: does not run" not in said(told())  # it is started when a verb needs it

    [ahead, *_] = concerns(replace(seen, at=seen.at - hour))
    assert ahead.what.startswith("the last batch of bronze.sales is 60 minutes ahead of this")
    old = said(concerns(replace(seen, audits={"sales": (kept,)})))
    assert old["sales was not audited for 2 days, and has landed more since"][0] == "look"


def test_the_doctor_tells_what_ails_the_lake_and_is_content_with_one_at_rest(settings):
    assert [*ailments_checks(settings)] == []  # no lake, no word
    Lake(settings).land(encode(sale()), 0)
    [check] = ailments_checks(settings)
    assert (check.group, check.state) == ("lake", "pass")
    [away, *_] = ailments_checks(settings.with_kafka("127.0.0.1:9"))
    assert (away.state, "127.0.0.1:9" in away.detail, "config.ini" in away.fix) == (
        "warn", True, True,
    )  # fmt: skip
