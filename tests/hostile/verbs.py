"""Every verb that opens a lake, as a function of its root; and what may come of it."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from textual.worker import WorkerCancelled
from typer.testing import CliRunner

import lakehouse
from lakehouse.audit.run import Broker, audit
from lakehouse.audit.show import render
from lakehouse.cli.app import Verbs, app
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
from lakehouse.products.registry import flows
from lakehouse.silver.publisher import SilverPublisher
from lakehouse.storage.duck import connect
from tests.conftest import NOW, settings_at
from tests.support.audited import Kafka
from tests.support.terminal_app import Driver, drive

LONGEST, AT_WORK = 30, 120
"""Seconds that a verb may take to read a hostile lake; to do its work, on a busy machine."""


ATTACKED = ("bronze.sales", "quarantine.sales", "silver.sales_by_country")


class Hung(Exception):
    """A verb that took longer."""


def verb_of(*words: str) -> Callable[[Path], str]:
    """The verb of these words; it is run for each table that :func:`_tables` names."""

    def run(root: Path) -> str:
        tables = _tables(root) if any("{" in word for word in words) else [""]
        told = []
        for table in tables:
            given = {"beside": root.parent, "table": table, "newest": _newest(root, table)}
            try:
                told.append(_run([word.format(**given) for word in words], root))
            except LakehouseError as error:
                told.append(str(error))
        return "\n".join(told)

    return run


def _run(words: list[str], root: Path) -> str:
    done = CliRunner().invoke(app, [*words, "--root", str(root)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in {*Exit}, done.output
    assert "Missing argument" not in done.output, f"say in GIVEN what {words} is given"
    return str(done.output)


def _tables(root: Path) -> list[str]:
    """The lake's only table; those that attacks change in a lake of many."""
    found = [log.parent for log in root.glob("*/*/_delta_log")]
    return [".".join(found[0].parts[-2:])] if len(found) == 1 else [*ATTACKED]


def _newest(root: Path, table: str) -> int:
    """The newest version that a file of the log is named by."""
    log = root / table.replace(".", "/") / "_delta_log"
    return max((int(entry.stem) for entry in log.glob("*.json") if entry.stem.isdigit()), default=0)


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


def _opened(root: Path) -> str:
    """What ``lakehouse.open`` gives of each table that attacks change."""
    lake, told = lakehouse.open(root), []
    for name in _tables(root):
        for ask in (lambda of: lake[of].arrow(), lake.info, lake.history):
            try:
                told.append(repr(str(ask(name))))  # a program's data, which no terminal is shown
            except LakehouseError as error:
                told.append(str(error))
    return "\n".join(told)


def _explorer(root: Path) -> str:
    """What the terminal app shows of the lake, and of each table that attacks change."""
    screens = []

    async def steps(it: Driver) -> None:
        for table in _tables(root):
            it.app.pick_table(table)
            await it.pilot.pause()
            with suppress(WorkerCancelled):  # the next look takes the place of the last
                await it.app.workers.wait_for_complete()
            await it.pilot.pause()
            screens.append(it.screen)

    drive(root, steps)
    return "\n".join(screens)


GIVEN = {
    "history": ["{table}"],
    "sql": ["SHOW ALL TABLES"],
    "trace": ["{table}"],
    "diff": ["{table}", "--from", "0", "--to", "{newest}"],
    "quarantine show": ["sales/0/3"],
    "explore": ["--sql", "FROM {table}", "--format", "csv"],
    "backup": ["{beside}/backup"],
    "repair": ["{table}"],
    "rebuild": ["silver.sales_by_country"],
    "erase": ["c1", "--yes"],
    "remark": ["sales"],
    "accept-gap": ["sales"],
    "churn promote": ["1"],
    "churn explain": ["7590-VHVEG"],
}
"""Verb → what it is given besides the root; any other verb is given nothing."""
READ_NOTHING_ELSE = {
    "tables", "history", "products", "explore", "report", "sql", "trace", "diff", "status",
    "quarantine list", "quarantine show", "quarantine stats", "churn models", "churn explain",
}  # fmt: skip
"""Verbs that write nothing; any other verb is given a lake of its own."""
LEFT_OUT = {
    "audit": "as a function, `audit`, without Kafka",
    "doctor": "as a function, `doctor --deep`: the rest is of the machine",
    "dashboard": "as a function: it serves until it is ended",
    "restore": "test_hostile_backups.py",
    "run": "a flow: `follow` is what it does with a lake",
    "up": "flows", "demo": "flows, in a lake of their own",
    "sink refill": "asks for a Postgres", "capture": "asks for a Postgres",
    "orders insert": "asks for a Postgres", "orders verify": "the audit, seen by its parts",
    "activity verify": "the audit, seen by its parts", "churn verify": "audits, by parts",
    "churn topics": "of Kafka alone", "churn train": "of a CSV alone",
    "churn sample": "of the package's own rows", "churn score": "its Kafka: test_churn_score.py",
    "move-services": "test_services_home.py",
}  # fmt: skip
"""Verbs with a root that are not in the table, and why."""


def verbs_with_a_root() -> list[str]:
    """Every verb of the command line, products' too, that opens a lake: ``quarantine list``."""

    def leaves(name: str, command: Any) -> Iterator[str]:
        for more, inner in getattr(command, "commands", {}).items():
            yield from leaves(f"{name} {more}", inner)
        if any(param.name == "root" for param in command.params):
            yield name

    every = Verbs()
    return [leaf for name in every for leaf in leaves(name, every[name])]


_COMMANDS = {
    name: verb_of(*name.split(), *GIVEN.get(name, []))
    for name in verbs_with_a_root() if name not in LEFT_OUT
}  # fmt: skip
READ = {
    "audit": _audit,
    "doctor --deep": _doctor,
    **{name: run for name, run in _COMMANDS.items() if name in READ_NOTHING_ELSE},
    "tables --json": verb_of("tables", "--json"),
    "quarantine list --json": verb_of("quarantine", "list", "--json"),
    "explorer": _explorer,
    "lakehouse.open": _opened,
    "dashboard": _dashboard,
}
"""What writes nothing."""
COSTLY = {name: READ[name] for name in ("audit", "doctor --deep", "explorer")}
"""What takes half of the time of all that reads."""
QUICK = {"audit orders", *READ} - {"dashboard", "explorer"}
"""What is one look: the others are many."""
WRITE = {name: run for name, run in _COMMANDS.items() if name not in READ_NOTHING_ELSE}
"""Verbs that write, in the lake or beside it; one that is new is taken for such."""
VERBS = {**READ, **WRITE}
MORE_READ = {**READ, "audit orders": _audit_orders}
MORE = {**VERBS, **MORE_READ, "follow": _followed}
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
    longest = LONGEST if verb in QUICK else AT_WORK
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
