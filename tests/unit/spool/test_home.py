"""A data folder opened with another node's settings, without encryption where its sound was encrypted so far, or while
the spool's disk is not mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.configuration.loader import load
from edge.core.errors import ConfigError
from edge.spool.home import Home

KEY = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"


def home(folder: Path, *overrides: str) -> Home:
    return Home(load(folder, overrides=overrides, environ={}))


def faults(one: Home) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        one.check_settings()
    return caught.value.faults


def test_a_new_data_folder_takes_any_settings(tmp_path: Path) -> None:
    home(tmp_path / "new", "node.name=porch").check_settings()


def test_the_same_settings_are_accepted_again(tmp_path: Path) -> None:
    own = ("node.name=porch", f"recorder.recipients={KEY}")
    home(tmp_path, *own).remember()
    home(tmp_path, *own).check_settings()


def test_a_data_folder_of_another_node_is_refused_with_both_remedies(tmp_path: Path) -> None:
    home(tmp_path, "node.name=porch").remember()
    [fault] = faults(home(tmp_path, "node.name=garden"))
    assert "belongs to node porch, but the settings say garden" in fault
    assert "--config" in fault
    assert "set [node] former_names = porch" in fault


def test_a_renamed_node_is_accepted_with_its_former_name(tmp_path: Path) -> None:
    home(tmp_path, "node.name=porch").remember()
    home(tmp_path, "node.name=garden", "node.former_names=attic, porch").check_settings()


def test_sound_encrypted_so_far_is_not_recorded_in_clear(tmp_path: Path) -> None:
    home(tmp_path, "node.name=porch", f"recorder.recipients={KEY}").remember()
    [fault] = faults(home(tmp_path, "node.name=porch"))
    assert "encrypted so far, but [recorder] recipients is empty" in fault


def test_both_differences_are_reported_at_once(tmp_path: Path) -> None:
    home(tmp_path, "node.name=porch", f"recorder.recipients={KEY}").remember()
    assert len(faults(home(tmp_path, "node.name=garden"))) == 2


def test_encryption_can_begin_at_any_time(tmp_path: Path) -> None:
    home(tmp_path, "node.name=porch").remember()
    home(tmp_path, "node.name=porch", f"recorder.recipients={KEY}").check_settings()


def test_a_damaged_record_does_not_stop_the_recorder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "node.json").write_text("{")
    home(tmp_path, "node.name=porch").check_settings()
    assert "node.json: is damaged" in caplog.text
