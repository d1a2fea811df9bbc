"""Settings: the environment over the file over the defaults; every fault at once."""

from datetime import timedelta

import pytest

from lakehouse.core.errors import SettingsError
from lakehouse.products.registry import sections_of_products
from lakehouse.settings.kinds import parse_duration
from lakehouse.settings.settings import load, sections


def read(tmp_path, text, env=None):
    path = tmp_path / "config.ini"
    path.write_text(text)
    return load(sections_of_products(), path, env or {})


def test_environment_wins_over_file_over_default(tmp_path):
    text = "[sales]\ntopic = t\n[stream]\ntrigger = 5 s\n[lake]\nroot = /a\n"
    found = read(tmp_path, text, {"LAKEHOUSE_LAKE_ROOT": "/b"})
    assert found.lake.root == "/b"
    assert found.stream.trigger == timedelta(seconds=5)
    assert found.stream.max_records_per_batch == 200_000


def test_every_fault_is_named_at_once_with_place_and_remedy(tmp_path):
    text = "[sales]\ntopic = t\n[kafka]\nbroker = x\n[stream]\ntrigger = soon\n[spork]\n"
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text, {"LAKEHOUSE_STREAM_TRIGER": "1 s"})
    said = str(caught.value)
    assert "[kafka] has no key 'broker'" in said
    assert "[stream] trigger: is not a duration" in said
    assert "[spork] is not a section. Did you mean 'spark'?" in said
    assert "LAKEHOUSE_STREAM_TRIGER sets nothing. Did you mean 'LAKEHOUSE_STREAM_TRIGGER'?" in said
    assert "fix:" in said


@pytest.mark.parametrize("value", ["2000000", "99999999999999999999"])
def test_threads_that_leave_none_to_other_programs_are_refused(tmp_path, value):
    with pytest.raises(SettingsError, match="engine_threads: input should be less than"):
        read(tmp_path, f"[silver]\nengine_threads = {value}\n")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match="no such file"):
        load(sections_of_products(), tmp_path / "none.ini", {})


def test_a_password_is_never_printed(tmp_path):
    text = "[sales]\ntopic = t\n[kafka]\nsecurity_protocol = SASL_SSL\nsasl_username = u\n"
    found = read(tmp_path, text, {"LAKEHOUSE_KAFKA_SASL_PASSWORD": "canary"})
    assert "canary" not in repr(found)
    assert "canary" not in str(found.model_dump())


def test_sasl_without_a_password_says_what_is_missing(tmp_path):
    with pytest.raises(SettingsError, match="LAKEHOUSE_KAFKA_SASL_PASSWORD"):
        read(tmp_path, "[sales]\ntopic = t\n[kafka]\nsecurity_protocol = SASL_SSL\n")


def test_a_password_in_the_file_is_refused_and_not_printed(tmp_path):
    text = "[sales]\ntopic = t\n[kafka]\nsasl_password = canary\n"
    with pytest.raises(SettingsError, match="LAKEHOUSE_KAFKA_SASL_PASSWORD") as caught:
        read(tmp_path, text)
    assert "canary" not in str(caught.value)


def test_a_certificate_without_its_key_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="go together"):
        read(tmp_path, "[sales]\ntopic = t\n[kafka]\nssl_certfile = c.pem\n")


def test_settings_are_frozen(settings):
    with pytest.raises(ValueError, match="frozen"):
        settings.lake = None


def test_there_are_thirty_or_more():
    assert sum(len(s.model_fields) for s in sections(sections_of_products()).values()) >= 30


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250 ms", 0.25),
        ("10 minutes", 600),
        ("1 h", 3600),
        ("0 seconds", 0),
        ("2days", 172800),
        ("5 s", 5),
        ("3 m", 180),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["10", "ten minutes", "5 parsecs", "", "-1 s", "s"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)
