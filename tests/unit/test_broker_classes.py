"""The archive of a broker's classes: mapped where it is whole and ours, else made."""

from pathlib import Path

import pytest

from lakehouse.services.broker_classes import Classes
from lakehouse.services.java import Java


@pytest.fixture
def cache(tmp_path, monkeypatch):
    for name in ("JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LAKEHOUSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def java(tmp_path):
    return Java(tmp_path / "no-java", 17, "PATH")


def written(classes):
    """What a JVM does with its options as it ends."""
    [option] = [o for o in classes.made if "ArchiveClassesAtExit" in o]
    Path(option.partition("=")[2]).write_bytes(b"whole")


def mapped(classes):
    return [o.rpartition("/")[2] for o in classes.mapped if "SharedArchiveFile" in o]


def test_the_first_makes_it_and_the_next_maps_it(cache, java):
    first, beside = Classes.of(java, []), Classes.of(java, [])
    written(first)
    written(beside)
    first.keep()
    beside.keep()
    assert mapped(first) == []
    assert mapped(Classes.of(java, [])) == [path.name for path in cache.glob("archives/*")]


def test_one_that_was_not_written_is_made_by_the_next(cache, java):
    Classes.of(java, []).keep()
    assert Classes.of(java, []).made


def test_one_that_was_cut_short_is_not_mapped(cache, java):
    first = Classes.of(java, [])
    written(first)
    first.keep()
    [path] = cache.glob("archives/*")
    path.write_bytes(b"cut")
    assert Classes.of(java, []).made


def test_other_jars_are_another(cache, java, tmp_path):
    first = Classes.of(java, [])
    written(first)
    first.keep()
    jar = tmp_path / "a.jar"
    jar.touch()
    assert Classes.of(java, [jar]).made


@pytest.mark.parametrize("place", [".", "archives"])
def test_where_others_can_write_none_is_mapped_or_made(cache, java, place):
    first = Classes.of(java, [])
    written(first)
    first.keep()
    (cache / place).chmod(0o777)
    assert Classes.of(java, []) == Classes()


def test_a_user_who_gives_an_archive_is_left_alone(cache, java, monkeypatch):
    monkeypatch.setenv("JDK_JAVA_OPTIONS", "-XX:SharedArchiveFile=/mine.jsa")
    assert Classes.of(java, []) == Classes()
