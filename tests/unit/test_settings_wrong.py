"""Wrong settings as a user meets them: place, fault, remedy, exit 2, and never a traceback."""

import os
import subprocess
import sys

import pytest

from lakehouse.cli.app import main
from lakehouse.core.errors import Exit, SettingsError
from lakehouse.products.registry import sections_of_products
from lakehouse.settings import settings as settings_module
from lakehouse.settings.kafka_client import password
from lakehouse.settings.sections import KafkaSettings
from lakehouse.settings.settings import load
from tests.support.copies_of_one import ROOT, copies_of_one

GOOD = "[sales]\ntopic = t\n"


def refused(path, environment=None):
    """The error of settings that cannot be used."""
    with pytest.raises(SettingsError) as caught:
        load(sections_of_products(), path, environment or {})
    error = caught.value
    assert error.exit_code == Exit.USAGE == 2
    assert error.place == str(path)
    assert error.remedy
    assert "Traceback" not in str(error)
    return error


WRONG = {
    "unknown section": ("[spork]\n", "[spork] is not a section. Did you mean 'spark'?"),
    "configparser's own": ("[DEFAULT]\npoll = 1 s\n", "[DEFAULT] is not a section"),
    "unknown key": ("[stream]\ntriger = 1 s\n", "[stream] has no key 'triger'. Did you mean"),
    "key of another case": ("[stream]\nTRIGGER = 1 s\n", "[stream] has no key 'TRIGGER'"),
    "text for a count": ("[sales]\npartitions = two\n", "[sales] partitions: input should be a"),
    "part of a count": ("[sales]\npartitions = 1.5\n", "[sales] partitions: input should be a"),
    "negative count": ("[table]\ncheckpoint_interval = -1\n", "greater than or equal to 1"),
    "negative duration": ("[stream]\npoll = -1 s\n", "[stream] poll: is not a duration"),
    "wrong unit": ("[stream]\npoll = 5 parsecs\n", "(given '5 parsecs')"),
    "no unit": ("[stream]\npoll = 5\n", "write a number and a unit, as in '10 minutes'"),
    "share above one": ("[sales]\nlate = 1.5\n", "[sales] late: input should be less than"),
    "not one of": ("[bronze]\npath = hive\n", "'auto', 'local' or 'cluster' (given 'hive')"),
    "a key that moved": (
        "[publish]\nwriter = spark\n",
        "'writer'. It is now [bronze] path: local",
    ),
    "a section that moved": (
        "[producer]\nrate = 2\nseed = 3\n",
        "[producer] is not a section. Its keys are those of [activity] or [churn] or [sales].",
    ),
    "not yes or no": ("[publish]\nfsync = perhaps\n", "[publish] fsync: input should be a valid"),
    "not a day": ("[sales]\nearliest = soon\n", "[sales] earliest: input should be a valid date"),
    "a day of year 1": (
        "[sales]\nearliest = 0001-01-01\n",
        "[sales] earliest: input should be greater than or equal to 0002-01-01",
    ),
    "not a topic": ("[sales]\ntopic = a b\n", "[sales] topic: is not a topic name"),
    "empty root": ("[lake]\nroot =\n", "[lake] root: string should have at least 1"),
    "a shell's root": ("[lake]\nroot = ~/lake\n", "[lake] root: begins with '~', which only a"),
    "a root in quotes": ('[lake]\nroot = "./lake"\n', "[lake] root: stands in quotes"),
    "a comment after a value": (
        "[lake]\nroot = ./lake  # ours\n",
        "root: holds ' #': a comment has a line of its own",
    ),
    "a value of two lines": (
        "[kafka]\nbootstrap_servers = a:1,\n  b:2\n",
        "goes on in another line: write it in one",
    ),
    "memory": ("[silver]\nengine_memory = much\n", "[silver] engine_memory: string should match"),
    "no memory": ("[silver]\nengine_memory = 0MB\n", "engine_memory: is less than 50 MB"),
    "no machine's memory": ("[explorer]\nmemory_limit = 9999999GB\n", "or more than 1000000 GB"),
    "no password": ("[kafka]\nsecurity_protocol = SASL_SSL\n", "LAKEHOUSE_KAFKA_SASL_PASSWORD"),
    "a century and a day": (
        "[stream]\npoll = 36526 days\n",
        "poll: is longer than a hundred years",
    ),
    "no time to answer": ("[kafka]\nrequest_timeout = 0 s\n", "[kafka] request_timeout: input"),
    "milliseconds of more than 31 bits": (
        "[kafka]\nrequest_timeout = 25 days\n",
        "[kafka] request_timeout: input should be less",
    ),
    "replicas of more than 15 bits": (
        "[sales]\nreplication_factor = 40000\n",
        "[sales] replication_factor: input should be less",
    ),
    "a topic that keeps nothing": (
        "[sales]\ntopic_retention = 0 s\n",
        "[sales] topic_retention: input should be greater",
    ),
    "an event in a century": ("[sales]\nrate = 1e-300\n", "[sales] rate: input should be greater"),
    "a flow that would read what it sends": (
        "[activity]\nenriched_topic = user_activity\n",
        "[activity] enriched_topic: 'user_activity' is the topic of [activity] too",
    ),
    "dead letters among predictions": (
        "[churn]\ndeadletter_topic = telco.churn.predictions\n",
        "'telco.churn.predictions' is the topic of [churn] deadletter_topic too",
    ),
    "endless duration": (
        "[stream]\npoll = 999999999999 days\n",
        "[stream] poll: is longer than",
    ),
}


@pytest.mark.parametrize(("text", "fault"), WRONG.values(), ids=list(WRONG))
def test_a_wrong_value(tmp_path, text, fault):
    path = tmp_path / "config.ini"
    path.write_text(text)
    error = refused(path, {"LAKEHOUSE_SALES_TOPIC": "t"} if "topic" not in text else {})
    assert error.fault.startswith("1 fault\n")
    assert fault in error.fault
    assert "docs/settings.md" in error.remedy


def test_all_at_once(tmp_path):
    path = tmp_path / "config.ini"
    texts = {text for name, (text, _) in WRONG.items() if name in {"unknown section", "wrong unit"}}
    path.write_text("".join(texts) + WRONG["memory"][0] + WRONG["not yes or no"][0] + GOOD)
    error = refused(path, {"LAKEHOUSE_TABEL_X": "1", "LAKEHOUSE_LOGGING_LEVEL": "loud"})
    assert error.fault.startswith("6 faults\n")
    assert len(error.fault.splitlines()) == 7
    assert "environment: LAKEHOUSE_TABEL_X sets nothing" in error.fault
    assert "environment: LAKEHOUSE_LOGGING_LEVEL: input should be 'debug'" in error.fault


FILES = {
    "no section": (b"root = /a\n", "line 1 stands before any [section]"),
    "no value": (b"[lake]\nroot\n", "line 2: neither"),
    "a key twice": (b"[lake]\nroot = a\nroot = b\n", "option 'root' in section 'lake'"),
    "a section twice": (b"[lake]\n[lake]\n", "section 'lake' already exists"),
    "not UTF-8": ("[lake]\nroot = é\n".encode("latin-1"), "can't decode"),
}


@pytest.mark.parametrize(("content", "fault"), FILES.values(), ids=list(FILES))
def test_a_wrong_file(tmp_path, content, fault):
    path = tmp_path / "config.ini"
    path.write_bytes(content)
    error = refused(path)
    assert fault in error.fault
    assert "\n" not in error.fault


def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "config.ini"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load(sections_of_products(), path, {}).product("sales").topic == "t"


def test_an_absent_file(tmp_path):
    assert refused(tmp_path / "none.ini").fault == "no such file"


def test_a_folder_is_not_a_file(tmp_path):
    assert "folder" in refused(tmp_path).fault


def test_a_file_without_rights(tmp_path, monkeypatch):
    path = tmp_path / "config.ini"
    path.write_text(GOOD)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything

        def closed(*_, **__):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(settings_module.Path, "open", closed)
    assert "Permission denied" in refused(path).fault


def test_no_password_file(tmp_path):
    with pytest.raises(SettingsError, match=r"cannot be read: No such file"):
        password(KafkaSettings(sasl_password_file=str(tmp_path / "none")))


COMMANDS = [
    ["tables"],
    ["history", "bronze.sales"],
    ["explore", "--batch"],
    ["run", "sales.silver"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_every_command_says_it_and_ends_with_two(tmp_path, monkeypatch, capsys, words):
    path = tmp_path / "config.ini"
    path.write_text("[spork]\n" + GOOD)
    ended = []
    monkeypatch.setattr("lakehouse.cli.app.leave", ended.append)
    monkeypatch.setattr("lakehouse.cli.app.watched", str)  # this process is pytest's
    monkeypatch.setattr(sys, "argv", ["lakehouse", *words, "--config", str(path)])
    main()
    said = capsys.readouterr()
    assert ended == [2]
    assert said.out == ""
    assert "[spork] is not a section" in said.err
    assert "fix:" in said.err


def test_a_process_of_its_own_ends_with_two(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "query_utils", "--batch"],
        env={**os.environ, "LAKEHOUSE_CONFIG": str(tmp_path / "none.ini")},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert "no such file" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_scripts_say_a_fault_as_the_command_does(tmp_path):
    for script in ("query_utils", "setup_utils"):
        load = "import lakehouse.cli.explore, lakehouse.cli.doctor"
        text = (ROOT / f"{script}.py").read_text("utf-8")
        for words, told in ([["--root", "a[b"], "its path holds"], [["--nix"], "No such option"]):
            (done,) = copies_of_one(load, text, [words])
            assert (done.returncode, done.stdout) == (2, ""), done
            assert told in done.stderr
            assert "Traceback" not in done.stderr


def test_a_variable_of_a_section_that_moved(tmp_path):
    path = tmp_path / "config.ini"
    path.write_text(GOOD)
    fault = refused(path, {"LAKEHOUSE_PRODUCER_CLIENTS": "5"}).fault
    assert (
        "LAKEHOUSE_PRODUCER_CLIENTS sets nothing. Did you mean 'LAKEHOUSE_SALES_CLIENTS'" in fault
    )
