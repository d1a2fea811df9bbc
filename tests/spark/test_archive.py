"""The archive of Spark's classes: mapped into the JVM, and never a reason not to start."""

import os
from pathlib import Path

import pytest

from lakehouse.cli.start import engine
from lakehouse.core.lock import one_at_a_time
from lakehouse.runtime import archive
from lakehouse.runtime.session import Engine


def test_the_jvm_of_a_session_has_it_mapped(spark):
    [option] = [o for o in engine(print).java_options if "SharedArchiveFile" in o]
    pid = spark.sparkContext._gateway.proc.pid
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert option.partition("=")[2] in maps


def test_a_file_that_it_makes_has_no_checksum_file_beside_it(spark, tmp_path):
    path = spark._jvm.org.apache.hadoop.fs.Path(str(tmp_path / "one"))
    conf = spark._jsparkSession.sessionState().newHadoopConf()
    path.getFileSystem(conf).create(path).close()
    assert [file.name for file in tmp_path.iterdir()] == ["one"]


def test_one_that_cannot_be_made_is_not_tried_again(tmp_path):
    said = []
    broken = Engine(tmp_path / "no-java", ())
    assert archive.with_archive(broken, tmp_path, said.append) == broken
    assert len(said) == 1
    assert archive.with_archive(broken, tmp_path, said.append) == broken
    assert len(said) == 1
    assert [path.stat().st_size for path in tmp_path.glob("archives/*.jsa")] == [0]


def test_one_that_is_cut_is_rebuilt(tmp_path):
    given = Engine(tmp_path / "no-java", ())
    folder = tmp_path / "archives"
    folder.mkdir()
    name = f"spark-{archive._key(given)}-5.jsa"
    (folder / name).write_bytes(b"whole")
    [option, *_] = archive.with_archive(given, tmp_path, print).java_options
    assert option.endswith(name)
    (folder / name).write_bytes(b"cut")
    assert archive.with_archive(given, tmp_path, print) == given
    assert sorted(path.name for path in folder.glob("*-0.jsa")) == [name.replace("-5.", "-0.")]


def test_while_another_process_makes_it_there_is_none(tmp_path):
    given = Engine(tmp_path, ())
    with one_at_a_time(tmp_path / "archives" / "lock", wait=False) as alone:
        assert alone
        assert archive.with_archive(given, tmp_path, print) == given
    assert not list(tmp_path.glob("archives/*.jsa"))


@pytest.mark.parametrize("place", ["cache", "archives", "archive"])
def test_one_that_others_can_write_to_is_not_mapped(tmp_path, place):
    given, cache = Engine(tmp_path / "no-java", ()), tmp_path / "cache"
    folder = cache / "archives"
    folder.mkdir(parents=True)
    archived = folder / f"spark-{archive._key(given)}-5.jsa"
    archived.write_bytes(b"whole")
    assert archive.with_archive(given, cache, print).java_options
    {"cache": cache, "archives": folder, "archive": archived}[place].chmod(0o777)
    assert archive.with_archive(given, cache, print) == given


def test_a_link_is_no_archive(tmp_path):
    given, folder = Engine(tmp_path / "no-java", ()), tmp_path / "archives"
    folder.mkdir()
    (tmp_path / "theirs").write_bytes(b"whole")
    (folder / f"spark-{archive._key(given)}-5.jsa").symlink_to(tmp_path / "theirs")
    assert archive.with_archive(given, tmp_path, print) == given


def test_other_jars_are_another_archive(tmp_path):
    jar = tmp_path / "a.jar"
    jar.touch()
    one = archive._key(Engine(tmp_path, (jar,)))
    os.utime(jar, (0, 0))
    assert one != archive._key(Engine(tmp_path, (jar,)))
