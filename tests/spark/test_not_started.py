"""A setting with which Spark does not start is reported with a clear error, not a Java stack."""

import subprocess
import sys

import pytest

from lakehouse.doctor.doctor import spark_checks
from lakehouse.products.registry import load_settings
from tests.conftest import long

START = """
import sys
from lakehouse.cli.start import engine
from lakehouse.core.errors import LakehouseError
from lakehouse.products.registry import load_settings
from lakehouse.runtime.session import session
try:
    session(load_settings(), "wrong", engine())
except LakehouseError as error:
    print(error.place, error.fault, error.remedy, sep="|")
"""


@pytest.mark.parametrize(
    ("setting", "value", "fault"),
    [
        ("DRIVER_MEMORY", "90000g", "does not start: its JVM ended as it started"),
        *long(  # the doctor is told so below
            ("DRIVER_MEMORY", "256m", "does not start: [INVALID_DRIVER_MEMORY] System memory")
        ),
    ],
)
def test_what_is_wrong_is_told(monkeypatch, setting, value, fault):
    monkeypatch.setenv(f"LAKEHOUSE_SPARK_{setting}", value)
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True)
    place, said, remedy = done.stdout.splitlines()[-1].split("|")
    assert (place, said.startswith(fault)) == ("Spark", True)
    assert "[spark] driver_memory" in remedy


def test_the_doctor_tries_the_settings_that_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = tmp_path / "other.ini"
    given.write_text("[spark]\ndriver_memory = 256m\n")
    (check,) = spark_checks(load_settings(given))
    assert (check.state, check.detail[:34]) == ("fail", "does not start: [INVALID_DRIVER_ME")
    assert "[spark] driver_memory" in check.fix
