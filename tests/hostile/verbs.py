"""Every verb that opens a lake, as a function of its root; and what may come of it."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from typer.testing import CliRunner

from lakehouse.audit.run import Broker, audit
from lakehouse.audit.show import render
from lakehouse.cli.app import app
from lakehouse.core.errors import Exit, LakehouseError
from lakehouse.core.exposition import metric_routes
from lakehouse.core.paths import Lake
from lakehouse.core.serving import Request, answered
from lakehouse.explorer.dashboard.beside import Beside
from lakehouse.explorer.dashboard.pages import Pages
from lakehouse.explorer.measured import Measured
from lakehouse.explorer.observed import Observer
from lakehouse.explorer.report import views
from lakehouse.explorer.session import Session
from lakehouse.ingest.topic import Topic
from lakehouse.model.flow import SilverFlow
from lakehouse.operations.deep import read_whole
from lakehouse.operations.remark import remark
from lakehouse.products.registry import flows
from lakehouse.silver.publisher import SilverPublisher
from lakehouse.storage.duck import connect
from tests.conftest import NOW, settings_at
from tests.support.audited import Kafka

LONGEST, AT_WORK = 10, 60
"""Seconds that a verb may take to read a hostile lake; to do its work, on a busy machine."""


class Hung(Exception):
    """A verb that took longer."""


def _command(*words: str) -> Callable[[Path], str]:
    def run(root: Path) -> str:
        given = [word.format(beside=root.parent, table=_table(root)) for word in words]
        done = CliRunner().invoke(app, [*given, "--root", str(root)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code in {*Exit}, done.output
        return str(done.output)

    return run


def _table(root: Path) -> str:
    """The lake's only table; bronze of sales in a lake of many."""
    found = [log.parent for log in root.glob("*/*/_delta_log")]
    return ".".join(found[0].parts[-2:]) if len(found) == 1 else "bronze.sales"


def _audit(root: Path) -> str:
    return _audited(root, "sales", Kafka(beginning=11, end=11).broker())


def _audit_orders(root: Path) -> str:
    return _audited(
        root, "orders", Broker(lambda: Topic("orders", "t1", {0: (7, 7)}), Kafka().judge)
    )


def _audited(root: Path, product: str, broker: Broker) -> str:
    proof = audit(product, settings_at(root), broker, NOW, lambda _: None)
    return render(proof, 132, color=False)


def _followed(root: Path) -> str:
    """What a flow does with silver, without Kafka and Spark."""
    settings = settings_at(root)
    with connect(settings) as connection:
        for one in (f for f in flows() if isinstance(f, SilverFlow)):
            silver = SilverPublisher.open(one, settings, connection)
            silver.catch_up()
            silver.persist()
            silver.close()
    return ""


def _remarked(root: Path) -> str:
    return str(remark("sales", settings_at(root), NOW, lambda _: None))


def _dashboard(root: Path) -> str:
    """Every answer that a viewer gets; an answer of 500 is a defect of ours."""
    settings, told = settings_at(root), []
    with (
        closing(Observer(settings, lambda settings: settings)) as observer,
        Session(observer.catalogue, settings.explorer, views(None, settings)) as session,
    ):
        routes = {
            **metric_routes(Measured(observer)),
            **Pages(observer, session, Beside("")).routes(),
        }
        names = ["lake", "product/sales", "table/bronze.sales", "table/silver.sales_by_country",
                 "table/quarantine.sales"]  # fmt: skip
        for path in ["/metrics", *(f"/api/{name}" for name in names)]:
            answer = answered(routes, Request(path))
            assert answer.status in {200, 503}, answer.body
            told.append(answer.body.decode())
    return "\n".join(told)


def _doctor(root: Path) -> str:
    found = read_whole(Lake(str(root)), settings_at(root).explorer.memory_limit)
    return "\n".join(f"{name}: {told}" for name, told, _ in found)


READ = {
    "audit": _audit,
    "doctor --deep": _doctor,
    "tables": _command("tables"),
    "tables --json": _command("tables", "--json"),
    "history": _command("history", "{table}"),
    "explore": _command("explore", "--sql", "FROM {table}", "--format", "csv"),
    "explore --batch": _command("explore", "--batch"),
    "explore, lists": _command("explore", "--sql", "SHOW ALL TABLES"),
    "quarantine list": _command("quarantine", "list"),
    "quarantine list --json": _command("quarantine", "list", "--json"),
    "quarantine show": _command("quarantine", "show", "sales/0/3"),
    "quarantine stats": _command("quarantine", "stats"),
    "status": _command("status"),
    "report": _command("report"),
    "trace": _command("trace", "bronze.sales", "topic=sales", "partition=0", "offset=1"),
    "diff": _command("diff", "{table}", "--from", "0", "--to", "1"),
    "dashboard": _dashboard,
}
"""Verbs that write nothing."""
WRITE = {
    "backup": _command("backup", "{beside}/backup"),
    "repair bronze": _command("repair", "bronze.sales"),
    "repair quarantine": _command("repair", "quarantine.sales"),
    "rebuild": _command("rebuild", "silver.sales_by_country"),
    "maintain": _command("maintain"),
    "replay": _command("quarantine", "replay"),
    "erase": _command("erase", "c1", "--yes"),
}
"""Verbs that write, in the lake or beside it."""
VERBS = {**READ, **WRITE}
MORE_READ = {**READ, "audit orders": _audit_orders}
MORE = {**VERBS, **MORE_READ, "follow": _followed, "remark": _remarked}
"""What mutants are given besides: a lake of several products, and what flows do."""


def peak_mb() -> int:
    """The most memory that this process took, in MB; not what its parent had when it began it."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024


@contextmanager
def limited(seconds: int = LONGEST) -> Iterator[None]:
    """End what takes longer: an alarm reaches a call that waits for a pipe, too."""

    def ring(*_: object) -> None:
        raise Hung(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(verb: str, root: Path) -> str:
    """What the verb says; any exception but a LakehouseError, and a hang, is the test's failure."""
    began = time.monotonic()
    longest = LONGEST if verb in MORE_READ else AT_WORK
    with limited(longest):
        try:
            said = MORE[verb](root)
        except LakehouseError as error:
            said = str(error)
    assert time.monotonic() - began < longest
    assert "Traceback" not in said
    return said


def state_of(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Every file below a folder, as the judge of what was written outside of a lake."""
    found = {}
    for above, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(above, name)
            kind = "link" if path.is_symlink() else "folder" if path.is_dir() else "file"
            is_plain = kind == "file" and path.is_file()
            found[str(path.relative_to(folder))] = (kind, path.read_bytes() if is_plain else b"")
    return found
