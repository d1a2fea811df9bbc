"""check_setup.sh where nothing is installed yet: a bare folder, a PATH of a few tools, plain sh."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("sh", "sed", "head", "awk", "tr", "dirname", "make")
DF = "echo 'Filesystem 1024-blocks Used Available Capacity Mounted'\necho '/dev/x 9 9 {} 9% /'"
JAVA = "echo 'openjdk version \"{}\" 2025-04-15' >&2"
PYTHON = os.path.realpath(getattr(sys, "_base_executable", sys.executable))


class Machine:
    """A folder with the script alone, and a PATH that holds what the test put there."""

    def __init__(self, folder):
        self.folder, self.bin = folder / "pro ject", folder / "bin"
        self.folder.mkdir()
        self.bin.mkdir()
        shutil.copy(ROOT / "check_setup.sh", self.folder)
        for name in TOOLS:
            found = shutil.which(name)
            assert found, f"the test needs {name}"
            (self.bin / name).symlink_to(found)
        self.tool("df", DF.format(50_000_000))

    def tool(self, name, script, folder=None):
        path = (folder or self.bin) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(f"#!{shutil.which('sh')}\n{script}\n")
        path.chmod(0o755)

    def python(self, name="python3"):
        (self.bin / name).symlink_to(PYTHON)

    def run(self, *words, **environment):
        return subprocess.run(
            [shutil.which("dash") or shutil.which("sh"), "check_setup.sh", *words],
            cwd=self.folder, env={"PATH": str(self.bin), **environment},
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip

    def checks(self, *words, code=0, **environment):
        done = self.run("--json", *words, **environment)
        assert done.returncode == code, done.stdout + done.stderr
        found = json.loads(done.stdout)
        assert all(set(c) == {"group", "name", "state", "detail", "fix"} for c in found)
        return {f"{c['group']} {c['name']}": c for c in found}


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_python_alone_is_enough(machine):
    machine.python()
    done = machine.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  pass  version: Python 3." in done.stdout
    assert "  warn  .venv: not made yet\n        fix: make setup\n" in done.stdout
    assert "fail" not in done.stdout
    assert done.stderr == ""


def test_json_is_one_document_with_the_same_checks(machine):
    machine.python()
    text = machine.run().stdout
    found = machine.checks()
    assert re.findall(r"^  \w+  ([^:]*): (.*)$", text, re.MULTILINE) == [
        (c["name"], c["detail"]) for c in found.values()
    ]
    assert {c["group"] for c in found.values()} == {"python", "java", "machine", "environment"}
    assert all(c["fix"] for c in found.values() if c["state"] != "pass")


def test_no_python_is_a_failure_with_a_fix(machine):
    done = machine.run()
    assert done.returncode == 1
    assert "  fail  version: none from 3.11 to 3.13 on PATH\n        fix: install" in done.stdout
    assert machine.checks(code=1)["python version"]["state"] == "fail"


def test_a_python_too_old_or_that_does_not_start_is_passed_over(machine):
    machine.tool("python3.11", "echo 'pyenv: python3.11: command not found' >&2; exit 127")
    machine.tool("python3", "exit 1")
    assert machine.checks(code=1)["python version"]["state"] == "fail"
    machine.python("python3.13")
    assert machine.checks()["python version"]["detail"].endswith(" as python3.13")


def test_a_python_without_ensurepip_is_a_failure(machine):
    machine.tool(
        "python3", f'case "$2" in *ensurepip*) exit 1 ;; esac\nexec "{PYTHON}" "$@"'
    )  # fmt: skip
    found = machine.checks(code=1)
    assert found["python ensurepip"]["state"] == "fail"
    assert "python3-venv" in found["python ensurepip"]["fix"]
    assert found["python venv"]["state"] == "pass"


@pytest.mark.parametrize(
    ("version", "state"),
    [("1.8.0_402", "warn"), ("11.0.2", "warn"), ("17.0.15", "pass"), ("26-ea", "pass")],
)
def test_java_by_its_feature_release(machine, version, state):
    machine.python()
    machine.tool("java", JAVA.format(version))
    assert machine.checks()["java version"]["state"] == state


def test_java_home_wins_and_odd_names_stay_valid_json(machine, tmp_path):
    machine.python()
    machine.tool("java", JAVA.format("17.0.1"))
    home = tmp_path / 'jd"k\\21 é'
    machine.tool("java", JAVA.format("21.0.8"), home / "bin")
    assert machine.checks(JAVA_HOME=str(home))["java version"]["detail"] == f"21 as {home}/bin/java"
    assert machine.checks(JAVA_HOME="/none")["java version"]["detail"] == "17 as java"


@pytest.mark.parametrize(
    ("kib", "state"), [(9_000_000, "pass"), (2_000_000, "warn"), (100_000, "fail")]
)
def test_free_disk(machine, kib, state):
    machine.python()
    machine.tool("df", DF.format(kib))
    found = machine.checks(code=int(state == "fail"))["machine free disk"]
    assert found["state"] == state
    assert bool(found["fix"]) == (state != "pass")


def test_what_cannot_be_measured_is_a_warning(machine):
    machine.python()
    (machine.bin / "awk").unlink()
    found = machine.checks()
    assert found["machine memory"]["state"] == found["machine free disk"]["state"] == "warn"
    assert machine.run().stderr == ""


def test_a_moved_environment_is_a_failure(machine):
    machine.python()
    path = machine.folder / ".venv" / "bin" / "lakehouse"
    path.parent.mkdir(parents=True)
    path.write_text("#!/gone/.venv/bin/python\n")
    path.chmod(0o755)
    found = machine.checks(code=1)["environment .venv"]
    assert found["fix"] == "rm -r .venv && make setup"


@pytest.mark.parametrize("code", [0, 1])
def test_an_environment_is_handed_the_options_and_its_answer_counts(machine, code):
    machine.python()
    bin_ = machine.folder / ".venv" / "bin"
    machine.tool("lakehouse", f'echo "[\\"$*\\"]"; exit {code}', bin_)
    done = machine.run("--json", "--config", "x.ini")
    assert (done.returncode, json.loads(done.stdout)) == (code, ["doctor --json --config x.ini"])
    done = machine.run()
    assert done.returncode == code
    assert done.stdout.endswith('["doctor"]\n')


def test_it_works_from_another_folder(machine, tmp_path):
    machine.python()
    (tmp_path / "else" / "pro ject").mkdir(parents=True)
    done = subprocess.run(
        ["sh", "pro ject/check_setup.sh", "--json"], cwd=tmp_path, text=True, timeout=200,
        env={"PATH": str(machine.bin), "CDPATH": str(tmp_path / "else")},
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_help(machine):
    done = machine.run("--help")
    assert done.returncode == 0
    assert "Usage: ./check_setup.sh [--json]" in done.stdout
