"""A config.ini that another user wrote, or can write to, sets nothing."""

import os
import shutil
from pathlib import Path

import pytest

from lakehouse.core.errors import SettingsError
from lakehouse.explorer.reference import settings_md
from lakehouse.products.registry import load_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAKEHOUSE_CONFIG", raising=False)
    path = Path(shutil.copy(ROOT / "config.ini", tmp_path))
    path.chmod(0o644)
    return path


@pytest.mark.parametrize("mode", [0o666, 0o646])
def test_a_config_that_others_can_write_to_is_refused(config, mode):
    load_settings()
    config.chmod(mode)
    for named in (None, config):
        with pytest.raises(SettingsError, match="others can write to it") as caught:
            load_settings(named)
        assert "chmod go-w" in caught.value.remedy


def test_a_config_of_the_users_own_group_is_read(config):
    config.write_text("[sales]\ntopic = ours\n")
    config.chmod(0o664)
    assert load_settings().product("sales").topic == "ours"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_config_of_another_user_is_refused(config):
    os.chown(config, 12345, 12345)
    with pytest.raises(SettingsError, match="belongs to another user, number 12345"):
        load_settings()
    os.chown(config, 0, 12345)
    load_settings()
    config.chmod(0o664)
    with pytest.raises(SettingsError, match="others can write to it"):
        load_settings()


def test_what_can_run_code_is_listed():
    listed = settings_md().partition("## What can run code")[2]
    for what in ("[spark] master", "[spark.conf]", "LAKEHOUSE_CACHE", "JAVA_HOME"):
        assert f"| {what}" in listed or f", {what}" in listed
