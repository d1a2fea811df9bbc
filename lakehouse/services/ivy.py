"""Fetches jars by their Maven coordinates, with the Ivy that PySpark ships."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from xml.sax.saxutils import quoteattr

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.core.processes import finished
from lakehouse.services.java import Java

LIMIT_SECONDS = 600
PATTERN = "[organisation]/[module]/[revision]/[artifact]-[revision].[ext]"
TELLING = ("UnknownHost", "Exception", "access error", "not found", "failed", "ERROR")


def resolve(coordinates: Sequence[str], work: Path, java: Java, *, transitive: bool) -> Path:
    """Fetch jars into a folder below ``work``: each at ``group/artifact/version/file.jar``.

    Nothing outside ``work`` is read or written, so an earlier bad download cannot return.
    The repository is Ivy's own default, or ``$LAKEHOUSE_MAVEN_MIRROR``. ServiceUnavailable
    if a jar cannot be fetched.
    """
    arguments = ["-ivy", str(_module(coordinates, work, transitive)), "-confs", "default"]
    arguments += ["-settings", str(_settings(work)), "-cache", str(work / "ivy")]
    # without `bundle` Ivy skips OSGi jars, and Kafka fails with NoClassDefFoundError
    arguments += ["-types", "jar", "bundle", "-retrieve", str(work / "jars" / PATTERN)]
    command = [java.command, f"-Divy.home={work / 'ivy'}", "-jar", str(_ivy()), *arguments]
    try:
        done = finished(command, timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        raise _unavailable(f"did not finish within {LIMIT_SECONDS} s") from None
    if done.returncode != 0 or "UNRESOLVED" in done.stdout:
        raise _unavailable(_reason(done.stdout + done.stderr))
    return work / "jars"


def _unavailable(reason: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        "jars",
        f"cannot be fetched: {reason}",
        "check the network, or name a Maven repository by LAKEHOUSE_MAVEN_MIRROR",
    )


def _reason(said: str) -> str:
    lines = [line.strip(" \t:") for line in said.splitlines()]
    for word in TELLING:
        for line in lines:
            if word in line:
                return line[:300]
    return next((line for line in reversed(lines) if line), "no answer")


def _module(coordinates: Sequence[str], work: Path, transitive: bool) -> Path:
    rows = "".join(
        '<dependency org="{}" name="{}" rev="{}" conf="default" force="true" '
        'transitive="{}"/>\n'.format(*coordinate.split(":"), str(transitive).lower())
        for coordinate in coordinates
    )
    path = work / "ivy.xml"
    path.write_text(
        '<ivy-module version="2.0"><info organisation="lakehouse" module="jars"/>\n'
        '<configurations><conf name="default"/></configurations>\n'
        f'<dependencies defaultconfmapping="*->default">\n{rows}</dependencies></ivy-module>\n',
        encoding="utf-8",
    )
    return path


def _settings(work: Path) -> Path:
    mirror = os.environ.get("LAKEHOUSE_MAVEN_MIRROR")
    root = f" root={quoteattr(mirror)}" if mirror else ""
    path = work / "ivysettings.xml"
    path.write_text(
        '<ivysettings><settings defaultResolver="maven"/>\n'
        '<timeout-constraints><timeout-constraint name="patience" '
        'connectionTimeout="10000" readTimeout="60000"/></timeout-constraints>\n'
        f'<resolvers><ibiblio name="maven" m2compatible="true" timeoutConstraint="patience"{root}/>'
        "</resolvers></ivysettings>\n",
        encoding="utf-8",
    )
    return path


def _ivy() -> Path:
    spec = find_spec("pyspark")
    folder = Path(spec.origin).parent / "jars" if spec and spec.origin else None
    found = sorted(folder.glob("ivy-*.jar")) if folder else []
    if not found:
        raise ServiceUnavailable("pyspark", "carries no Ivy", "run `make setup`")
    return found[0]
