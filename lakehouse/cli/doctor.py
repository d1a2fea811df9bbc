"""``lakehouse doctor``: checks of this machine, each with its remedy."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lakehouse.cli.edge import settings_of, write, write_json
from lakehouse.core.errors import Exit, LakehouseError
from lakehouse.core.options import AsJson, Config, Root
from lakehouse.core.paths import check_root
from lakehouse.core.progress import progress


def doctor(
    config: Config = None,
    as_json: AsJson = False,
    root: Root = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="read every page of every table too")
    ] = False,
) -> None:
    """Check this machine: Python, Java, jars, disk, memory, Kafka, a Spark and Delta round trip.

    With --deep also the lake: every page of every table. Exit 1 only if a check fails.

    Examples: lakehouse doctor   |   lakehouse doctor --deep --json
    """
    from lakehouse.doctor.check import Check
    from lakehouse.doctor.doctor import checked, drawn
    from lakehouse.settings.settings import Settings

    try:
        settings = settings_of(config, logs=False)
        read = Check("settings", "config.ini", "pass", "read")
    except LakehouseError as error:
        read = Check("settings", error.place, "fail", error.fault, error.remedy)
        settings = Settings()
    settings = settings.with_root(root) if root else settings
    check_root(settings.lake.root)
    with progress(quiet=as_json):
        checks = [read, *checked(settings, deep=deep)]
    if as_json:
        write_json([asdict(check) for check in checks])
    else:
        write(drawn(checks))
    failed = any(check.state == "fail" for check in checks)
    raise SystemExit(Exit.FAULT if failed else Exit.OK)
