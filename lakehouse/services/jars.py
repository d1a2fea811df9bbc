"""The pinned jars: resolved once by the Ivy that pyspark carries, checked by SHA-256, then local.

``python -m lakehouse.services.jars`` writes the lock anew (see `make lock`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.services.java import Java, find_java

LOCK = Path(__file__).with_name("jars.lock")
ROOTS = {
    "spark": (
        False,
        [
            "io.delta:delta-spark_4.2_2.13:4.4.0",
            "io.delta:delta-storage:4.4.0",
            "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0",
            # 4.2.0 of the token provider is not in every mirror; it serves delegation tokens only
            "org.apache.spark:spark-token-provider-kafka-0-10_2.13:4.0.0",
            "org.apache.kafka:kafka-clients:3.9.1",
            "org.apache.commons:commons-pool2:2.12.1",
        ],
    ),
    "kafka": (True, ["org.apache.kafka:kafka_2.13:4.3.0"]),
}
"""Set → (with what they depend on, coordinates)."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Pin:
    """One jar of the lock."""

    sha256: str
    size: int
    name: str


def default_cache() -> Path:
    """``$LAKEHOUSE_CACHE``, else ``lakehouse`` in the user's cache folder."""
    if given := os.environ.get("LAKEHOUSE_CACHE"):
        return Path(given).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lakehouse"


def spark_jars(cache: Path, java: Java, say: Say) -> tuple[Path, ...]:
    """Delta's and the Kafka connector's jars, for Spark's class path."""
    return _jars("spark", cache, java, say)


def kafka_jars(cache: Path, java: Java, say: Say) -> tuple[Path, ...]:
    """The broker's jars."""
    return _jars("kafka", cache, java, say)


def verify(cache: Path) -> list[str]:
    """What is wrong with the jars in the cache, by full hash; empty when all is well."""
    faults = []
    for kind, pins in read_lock().items():
        for pin in pins:
            path = _folder(cache, kind) / pin.name
            if not path.is_file():
                faults.append(f"{pin.name}: not fetched yet")
            elif _sha256(path) != pin.sha256:
                faults.append(f"{path}: is not the pinned file")
    return faults


def read_lock() -> dict[str, list[Pin]]:
    """Set → its pinned jars."""
    pins: dict[str, list[Pin]] = {}
    for line in LOCK.read_text("utf-8").splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
            pins[kind] = []
        elif line and not line.startswith("#"):
            sha256, size, name = line.split()
            pins[kind].append(Pin(sha256, int(size), name))
    return pins


def _jars(kind: str, cache: Path, java: Java, say: Say) -> tuple[Path, ...]:
    pins = read_lock()[kind]
    folder = _folder(cache, kind)
    if not _complete(folder, pins):
        with _one_at_a_time(cache):
            if not _complete(folder, pins):
                _fetch(kind, pins, folder, cache, java, say)
    return tuple(folder / pin.name for pin in pins)


def _complete(folder: Path, pins: list[Pin]) -> bool:
    def there(pin: Pin) -> bool:
        path = folder / pin.name
        return path.is_file() and path.stat().st_size == pin.size

    return all(there(pin) for pin in pins)


def _fetch(kind: str, pins: list[Pin], folder: Path, cache: Path, java: Java, say: Say) -> None:
    say(f"fetching {len(pins)} {kind} jars, once, into {cache}")
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        got = _resolve(kind, Path(temporary), cache, java)
        for pin in pins:
            path = got / pin.name
            if not path.is_file():
                raise ServiceUnavailable(
                    pin.name, "was not delivered", "run `make lock` if the pins have changed"
                )
            if _sha256(path) != pin.sha256:
                raise ServiceUnavailable(
                    pin.name,
                    "is not the pinned file: its SHA-256 differs from the lock; it is not used",
                    "look at the mirror that serves it, then try again",
                )
        folder.mkdir(parents=True, exist_ok=True)
        for pin in pins:
            (got / pin.name).replace(folder / pin.name)


def _resolve(kind: str, work: Path, cache: Path, java: Java) -> Path:
    transitive, coordinates = ROOTS[kind]
    rows = "\n".join(
        '<dependency org="{}" name="{}" rev="{}" conf="default->default" '
        'transitive="{}" force="true"/>'.format(*c.split(":"), str(transitive).lower())
        for c in coordinates
    )
    module = work / "ivy.xml"
    module.write_text(
        '<ivy-module version="2.0"><info organisation="lakehouse" module="jars"/>'
        f"<configurations><conf name='default'/></configurations>"
        f"<dependencies>{rows}</dependencies></ivy-module>",
        encoding="utf-8",
    )
    arguments = ["-ivy", str(module), "-confs", "default", "-types", "jar", "bundle"]
    arguments += ["-cache", str(cache / "ivy"), *_mirror(work)]
    arguments += ["-retrieve", f"{work}/jars/[artifact]-[revision].[ext]"]
    done = subprocess.run(
        [java.command, f"-Divy.home={cache / 'ivy'}", "-jar", str(_ivy()), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 or "UNRESOLVED" in done.stdout:
        said = [x.strip() for x in done.stdout.splitlines() if "not found" in x or "ERROR" in x]
        reason = said[0] if said else (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise ServiceUnavailable(
            f"{kind} jars",
            f"cannot be fetched: {reason}",
            "check the network, or name a repository by LAKEHOUSE_MAVEN_MIRROR",
        )
    return work / "jars"


def _mirror(work: Path) -> list[str]:
    mirror = os.environ.get("LAKEHOUSE_MAVEN_MIRROR")
    if not mirror:
        return []
    settings = work / "ivysettings.xml"
    settings.write_text(
        '<ivysettings><settings defaultResolver="mirror"/><resolvers>'
        f'<ibiblio name="mirror" m2compatible="true" root="{mirror}"/>'
        "</resolvers></ivysettings>",
        encoding="utf-8",
    )
    return ["-settings", str(settings)]


def _ivy() -> Path:
    spec = find_spec("pyspark")
    assert spec is not None  # noqa: S101  # a dependency of this package
    assert spec.origin is not None  # noqa: S101
    return next((Path(spec.origin).parent / "jars").glob("ivy-*.jar"))


def _folder(cache: Path, kind: str) -> Path:
    return cache / "jars" / kind


@contextmanager
def _one_at_a_time(cache: Path) -> Iterator[None]:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except PermissionError as error:
        raise ServiceUnavailable(
            str(cache), f"cannot be written: {error.strerror}", "set LAKEHOUSE_CACHE"
        ) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_lock() -> None:
    """Resolve every set and write the lock from what was delivered."""
    cache = default_cache()
    cache.mkdir(parents=True, exist_ok=True)
    lines = ["# sha256, bytes and name of every jar; written by `make lock`"]
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        for kind in ROOTS:
            work = Path(temporary, kind)
            work.mkdir()
            got = sorted(_resolve(kind, work, cache, find_java(cache)).iterdir())
            lines += [f"[{kind}]"]
            lines += [f"{_sha256(p)} {p.stat().st_size} {p.name}" for p in got]
    LOCK.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_lock()
