"""A data folder opened with another node's settings, without encryption where its sound was encrypted so far, or while
the spool's disk is not mounted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge.configuration.loader import load
from edge.core.errors import ConfigError, SpoolMissing
from edge.spool.home import Home
from edge.spool.spool import spool_of
from tests.support.recording.mount_point import MountPoint

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
    (tmp_path / "recorder").mkdir()
    (tmp_path / "recorder" / "node.json").write_text("{")
    home(tmp_path, "node.name=porch").check_settings()
    assert "node.json: is damaged" in caplog.text


# the spool's disk


@pytest.fixture
def mount(tmp_path: Path) -> MountPoint:
    return MountPoint(tmp_path / "mnt")


def on(mount: MountPoint, folder: str = "spool") -> Home:
    """Of a node with its data folder on the root disk, and its spool on the mount point."""
    (mount.path / folder).mkdir(exist_ok=True)
    overrides = ["node.name=porch", f"recorder.record_path={mount.path / folder}"]
    return Home(load(mount.path.parent / "data", overrides=overrides, environ={}), mount.device)


def test_the_disk_is_recognised_when_it_is_mounted_again(mount: MountPoint) -> None:
    mount.mount(1)
    on(mount).remember()
    mount.unmount()
    mount.mount(1)
    on(mount).check_disk()


def test_a_spool_whose_disk_is_not_mounted_is_refused(mount: MountPoint) -> None:
    mount.mount(1)
    on(mount).remember()
    mount.unmount()
    with pytest.raises(SpoolMissing, match="the disk of the spool is not mounted"):
        on(mount).check_disk()


def test_another_disk_is_refused_until_it_is_adopted(mount: MountPoint) -> None:
    mount.mount(1)
    on(mount).remember()
    mount.mount(2)
    with pytest.raises(SpoolMissing, match=r"is not the disk that the spool was on.*imhearing adopt"):
        on(mount).check_disk()
    on(mount).adopt()
    on(mount).check_disk()
    mount.mount(1)
    with pytest.raises(SpoolMissing):
        on(mount).check_disk()


def test_a_disk_mounted_over_a_spool_is_refused_as_it_hides_it(mount: MountPoint) -> None:
    on(mount).remember()
    mount.mount(1)
    with pytest.raises(SpoolMissing, match="is not the disk"):
        on(mount).check_disk()


def test_a_spool_on_the_root_disk_may_be_emptied(mount: MountPoint) -> None:
    on(mount).remember()
    shutil.rmtree(mount.path / "spool")
    on(mount).check_disk()


def test_a_copy_of_the_spool_on_a_larger_disk_takes_its_place(mount: MountPoint) -> None:
    mount.mount(1)
    on(mount).remember()
    copy = mount.path.parent / "copy"
    shutil.copytree(mount.path / "spool", copy)
    mount.mount(2)
    copy.rename(mount.path / "spool")
    on(mount).check_disk()


def test_a_new_path_is_accepted_and_the_old_one_is_to_be_joined(mount: MountPoint) -> None:
    on(mount).remember()
    on(mount, "larger").check_disk()
    on(mount, "larger").remember()
    assert on(mount, "larger").to_join() == [mount.path / "spool"]
    on(mount, "larger").mark_joined(mount.path / "spool")
    assert on(mount, "larger").to_join() == []


def test_a_copied_data_folder_claims_no_sound_of_the_original(tmp_path: Path) -> None:
    home(tmp_path / "garden", "node.name=porch").remember()
    shutil.copytree(tmp_path / "garden", tmp_path / "copy")
    copy = home(tmp_path / "copy", "node.name=porch")
    copy.check_disk()
    copy.remember()
    assert copy.to_join() == []


def test_a_missing_disk_is_no_empty_spool_for_any_service(mount: MountPoint) -> None:
    mount.mount(1)
    on(mount).remember()
    mount.unmount()
    (mount.path / "spool").mkdir()
    settings = load(
        mount.path.parent / "data",
        overrides=["node.name=porch", f"recorder.record_path={mount.path / 'spool'}"],
        environ={},
    )
    spool = spool_of(settings)
    with pytest.raises(SpoolMissing):
        spool.chunks.finished()
    with pytest.raises(SpoolMissing):
        spool.create()
    assert list(spool.path.iterdir()) == []
