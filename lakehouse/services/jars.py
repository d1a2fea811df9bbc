"""The pinned jars: fetched once, checked by SHA-256 against the lock, then local files.

The lock lists coordinates and hashes. Ivy, which PySpark ships, only fetches: it knows mirrors,
their passwords and its cache, but would trust whatever a mirror serves.
``python -m lakehouse.services.jars lock`` rewrites the lock (`make lock`); ``check`` compares
the fetched files with it (`make check`).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lakehouse.core.errors import Exit, LakehouseError, ServiceUnavailable, UsageError
from lakehouse.core.lock import one_at_a_time
from lakehouse.core.own import user_folder
from lakehouse.core.text import Say
from lakehouse.services.ivy import resolve
from lakehouse.services.java import Java, find_java
from lakehouse.services.sums import sha256, sums

LOCK = Path(__file__).with_name("jars.lock")
ROOTS = {
    "spark": (
        False,
        [
            "io.delta:delta-spark_4.2_2.13:4.4.0",
            "io.delta:delta-storage:4.4.0",
            "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0",
            # not every mirror has 4.2.0 of the token provider, which is for delegation tokens only
            "org.apache.spark:spark-token-provider-kafka-0-10_2.13:4.0.0",
            "org.apache.kafka:kafka-clients:3.9.1",
            "org.apache.commons:commons-pool2:2.12.1",
        ],
    ),
    "kafka": (
        True,
        [
            "org.apache.kafka:kafka_2.13:4.3.0",
            # connects its log calls to log4j; without it a broker does not log its errors
            "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
        ],
    ),
}
"""Name of the set → (whether to fetch dependencies too, coordinates)."""
PART = "part-"
ABSENT = "not fetched yet"


@dataclass(frozen=True)
class Pin:
    """One jar of the lock."""

    coordinate: str
    sha256: str
    size: int
    name: str


def default_cache() -> Path:
    """``$LAKEHOUSE_CACHE``, else ``lakehouse`` in the user's cache folder."""
    if given := os.environ.get("LAKEHOUSE_CACHE"):
        return Path(given).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).absolute() if base else user_folder() / ".cache") / "lakehouse"


def spark_jars(cache: Path, java: Java, say: Say) -> tuple[Path, ...]:
    """Delta's and the Kafka connector's jars, for Spark's class path.

    Each has the pinned SHA-256. One that is missing, or has another, is fetched, and gets its
    name only after its hash has been compared. ServiceUnavailable if a jar cannot be fetched.
    """
    return _jars("spark", cache, java, say)


def kafka_jars(cache: Path, java: Java, say: Say) -> tuple[Path, ...]:
    """The broker's jars, checked as :func:`spark_jars` does."""
    return _jars("kafka", cache, java, say)


def verify(cache: Path) -> list[str]:
    """What is wrong with the jars in the cache, each hashed in full; empty if nothing is."""
    faults = []
    for kind, pins in read_lock().items():
        for pin in pins:
            path = _folder(cache, kind) / pin.name
            if not path.is_file():
                faults.append(f"{pin.name}: {ABSENT}")
            elif sha256(path) != pin.sha256:
                faults.append(f"{path}: is not the pinned file")
    return faults


def read_lock() -> dict[str, list[Pin]]:
    """Set → its pinned jars."""
    pins: dict[str, list[Pin]] = {}
    kind = ""
    for line in LOCK.read_text("utf-8").splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
            pins[kind] = []
        elif line and not line.startswith("#"):
            coordinate, sha256, size, name = line.split()
            pins[kind].append(Pin(coordinate, sha256, int(size), name))
    return pins


def _jars(kind: str, cache: Path, java: Java, say: Say) -> tuple[Path, ...]:
    pins = read_lock()[kind]
    folder = _folder(cache, kind)
    if _missing(folder, pins, cache):
        try:
            with _one_at_a_time(cache):
                if missing := _missing(folder, pins, cache):
                    say(f"fetching {len(missing)} {kind} jars, once, into {cache}")
                    _fetch(missing, folder, cache, java)
        except OSError as error:
            raise _unwritable(cache, error) from None
    return tuple(folder / pin.name for pin in pins)


def _missing(folder: Path, pins: list[Pin], cache: Path) -> list[Pin]:
    """What is not there, or is not the pinned file."""
    found = sums([folder / pin.name for pin in pins], cache / "jars")
    return [pin for pin in pins if found.get(folder / pin.name) != pin.sha256]


def _fetch(pins: list[Pin], folder: Path, cache: Path, java: Java) -> None:
    """Fetch these jars and compare all of them, then move each into the folder by a rename."""
    with tempfile.TemporaryDirectory(dir=cache, prefix=PART) as temporary:
        got = resolve([pin.coordinate for pin in pins], Path(temporary), java, transitive=False)
        arrived = [got.joinpath(*pin.coordinate.split(":"), pin.name) for pin in pins]
        for pin, path in zip(pins, arrived, strict=True):
            if not path.is_file():
                raise ServiceUnavailable(
                    pin.name, "was not delivered", "run `make lock` if the pins have changed"
                )
            if (found := sha256(path)) != pin.sha256:
                raise ServiceUnavailable(
                    pin.name,
                    f"is not the pinned file and is not used: its SHA-256 is {found}, "
                    f"the lock says {pin.sha256}",
                    "look at the repository that serves it, then try again",
                )
        folder.mkdir(parents=True, exist_ok=True)
        for pin, path in zip(pins, arrived, strict=True):
            path.replace(folder / pin.name)


def _folder(cache: Path, kind: str) -> Path:
    return cache / "jars" / kind


@contextmanager
def _one_at_a_time(cache: Path) -> Iterator[None]:
    """Lock the cache, and remove what a killed process left in it. A kill -9 releases the lock."""
    with one_at_a_time(cache / "lock"):
        for left in cache.glob(f"{PART}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _unwritable(cache: Path, error: OSError) -> ServiceUnavailable:
    return ServiceUnavailable(
        str(cache),
        f"cannot be written: {error.strerror or error}",
        "mend the folder, or name another one by LAKEHOUSE_CACHE",
    )


def write_lock(cache: Path, java: Java) -> None:
    """Fetch every set and write the lock from the files that came."""
    lines = ["# group:artifact:version, sha256, bytes and name of every jar; by `make lock`"]
    with _one_at_a_time(cache):
        for kind, (transitive, coordinates) in ROOTS.items():
            with tempfile.TemporaryDirectory(dir=cache, prefix=PART) as temporary:
                got = resolve(coordinates, Path(temporary), java, transitive=transitive)
                lines += [f"[{kind}]", *sorted(_pinned(got, path) for path in got.rglob("*.jar"))]
    LOCK.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _pinned(got: Path, jar: Path) -> str:
    coordinate = ":".join(jar.relative_to(got).parts[:3])
    return f"{coordinate}  {sha256(jar)}  {jar.stat().st_size}  {jar.name}"


def check(cache: Path) -> int:
    """Print whether the fetched jars are the pinned ones; gives 1 if one is not, else 0."""
    pinned = sum(map(len, read_lock().values()))
    faults = verify(cache)
    wrong = [fault for fault in faults if not fault.endswith(ABSENT)]
    for fault in wrong:
        print(f"jars: {fault}", file=sys.stderr)
    if absent := len(faults) - len(wrong):
        print(f"jars: {absent} of {pinned} NOT CHECKED: they are not fetched yet")
    print(f"jars: {pinned - len(faults)} of {pinned} are the pinned files, by SHA-256")
    return Exit.FAULT if wrong else Exit.OK


def main(arguments: list[str]) -> int:
    """``lock``, the default, writes the lock, ``check`` compares with it; the exit code."""
    try:
        if arguments not in ([], ["lock"], ["check"]):
            raise UsageError(
                " ".join(arguments), "is not a verb of this module", "say `lock` or `check`"
            )
        cache = default_cache()
        if arguments == ["check"]:
            return check(cache)
        write_lock(cache, find_java(cache))
    except LakehouseError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
