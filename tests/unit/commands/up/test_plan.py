"""What `imhearing up` decides and saves before it starts anything."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from commands.up import plan as up_plan
from commands.up.plan import (
    MARKER,
    StartPlan,
    UpState,
    load_state,
    lost_overrides,
    make_plan,
    save_plan,
    secrets_of_environment,
    user_settings,
)
from edge.configuration import loader as config
from edge.configuration.settings import Secret, Settings
from edge.core.errors import ConfigError, ImHearingError
from edge.embedded import ports
from tests.support.wait import DEADLINE

CONFIGURED = (
    "mqtt.host=broker.example.org", "s3.s3_bucket_name=sounds", "ably.api_key=app.key:secret", "http.port=8480",
    "query.cursor_key=0123456789abcdef", "http.owner_key=fedcba9876543210",
)  # fmt: skip


def settings_for(folder: Path, *overrides: str, environ: dict[str, str] | None = None) -> Settings:
    return user_settings(folder, None, overrides, environ or {})


def test_servers_are_started_for_what_is_not_configured(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, settings_for(tmp_path))
    assert [part.name for part in plan.servers] == ["broker", "store", "realtime-server"]
    assert [part.name for part in plan.services] == ["recorder", "archiver", "query-service"]
    settings = plan.settings
    assert settings.mqtt.host == f"unix:{tmp_path}/broker/mqtt.sock"
    assert settings.mqtt.username == f"{settings.node.name}-{{role}}"
    assert settings.s3.endpoint_url == f"http://127.0.0.1:{plan.state.store_port}"
    assert settings.ably.endpoint == f"127.0.0.1:{plan.state.realtime_port}"
    assert settings.ably.api_key.reveal().startswith("local.")
    assert plan.state.store_port != plan.state.realtime_port


def test_no_server_is_started_for_what_is_configured(tmp_path: Path) -> None:
    chosen = settings_for(tmp_path, *CONFIGURED)
    plan = make_plan(tmp_path, chosen)
    assert plan.servers == []
    assert plan.settings == chosen
    assert "secret" not in str(plan.notes)


@pytest.mark.parametrize(("section", "name"), [("query", "cursor_key"), ("http", "owner_key")])
def test_the_keys_of_cursors_and_owner_are_the_same_at_every_start(tmp_path: Path, section: str, name: str) -> None:
    def key(plan: StartPlan) -> str:
        secret: Secret = getattr(getattr(plan.settings, section), name)
        return secret.reveal()

    plan = make_plan(tmp_path, settings_for(tmp_path))
    save_plan(tmp_path, plan)
    assert len(key(plan)) >= 40
    assert key(make_plan(tmp_path, settings_for(tmp_path))) == key(plan)


@pytest.mark.parametrize("name", ["nofile.wav", "text.md", "empty.wav"])
def test_an_unplayable_source_file_is_rejected_before_anything_starts(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.md").write_text("# no sound\n")
    (tmp_path / "empty.wav").write_bytes(b"")
    data, source = tmp_path / "data", tmp_path / name
    command = [sys.executable, "-m", "imhearing", "up", "--data", str(data), "--set", f"recorder.source={source}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"imhearing: {source}: ")
    assert done.stderr.count("\n") == 1
    assert "set [recorder] source to a sound file" in done.stderr
    assert not data.exists()


def test_an_http_port_in_use_is_announced_as_unavailable(tmp_path: Path) -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        notes = make_plan(tmp_path, settings_for(tmp_path, *CONFIGURED, f"http.port={port}")).notes
        assert notes[-1] == f"http      127.0.0.1:{port} is not available: no HTTP door until it is"
    assert make_plan(tmp_path, settings_for(tmp_path, *CONFIGURED, f"http.port={port}")).notes[-1] == (
        f"http      127.0.0.1:{port}"
    )


def test_an_http_address_of_another_machine_is_announced_as_unavailable(tmp_path: Path) -> None:
    wanted = (*CONFIGURED, "http.host=192.0.2.1", "http.token=0123456789abcdef")
    assert "no HTTP door" in make_plan(tmp_path, settings_for(tmp_path, *wanted)).notes[-1]
    everywhere = (*CONFIGURED, "http.host=::1", f"http.port={ports.choose(None)}")
    assert "no HTTP door" not in make_plan(tmp_path, settings_for(tmp_path, *everywhere)).notes[-1]


def test_no_secret_is_on_a_command_line(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, settings_for(tmp_path, "mqtt.password=xyzzy"))
    words = " ".join(word for part in [*plan.servers, *plan.services] for word in part.command)
    for secret in ("xyzzy", plan.state.store_secret, plan.state.realtime_key, plan.state.cursor_key):
        assert secret not in words


def test_the_next_start_reuses_ports_and_keys(tmp_path: Path) -> None:
    first = make_plan(tmp_path, settings_for(tmp_path))
    save_plan(tmp_path, first)
    again = make_plan(tmp_path, settings_for(tmp_path))
    assert again.state == first.state
    assert again.settings == first.settings


def test_a_saved_port_that_is_taken_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up_plan, "_PORT_TIMEOUT", 0.0)
    first = make_plan(tmp_path, settings_for(tmp_path))
    save_plan(tmp_path, first)
    taken = first.state.store_port
    monkeypatch.setattr(ports, "is_free", lambda port, *_: port != taken)
    again = make_plan(tmp_path, settings_for(tmp_path))
    assert again.state.store_port != taken
    assert again.state.store_secret == first.state.store_secret


def test_a_damaged_state_file_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "up.json").write_text("{nonsense")
    assert load_state(tmp_path) == UpState()


def test_saved_files_are_private_and_load_as_the_same_settings(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, settings_for(tmp_path, "recorder.record_period=5", "node.name=porch"))
    save_plan(tmp_path, plan)
    for name in ("config.ini", "up.json"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    text = (tmp_path / "config.ini").read_text()
    assert MARKER in text.splitlines()[0]
    assert "--config" in text.splitlines()[1]
    assert config.load(tmp_path, environ={}) == plan.settings


def test_commands_on_a_copied_data_folder_act_on_the_copy(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    save_plan(old, make_plan(old, settings_for(old, "recorder.record_path=sound/spool", "log.log_file=logs/x.log")))
    old.rename(new)
    settings = config.load(new, environ={})
    assert settings.recorder.record_path == new / "sound" / "spool"
    assert settings.catalog.db_path == new / "catalog.db"
    assert settings.log.log_file == str(new / "logs" / "x.log")


def test_settings_of_an_earlier_start_do_not_persist(tmp_path: Path) -> None:
    save_plan(tmp_path, make_plan(tmp_path, settings_for(tmp_path, "recorder.record_period=5")))
    assert settings_for(tmp_path).recorder.record_period == 60
    assert settings_for(tmp_path).mqtt.host == ""


def test_what_was_set_at_the_last_start_alone_is_reported_once(tmp_path: Path) -> None:
    given = ("recorder.record_period=5", "node.name=porch", "mqtt.password=xyzzy")
    save_plan(tmp_path, make_plan(tmp_path, settings_for(tmp_path, *given)), overrides=given)
    assert "xyzzy" not in (tmp_path / "up.json").read_text()
    assert lost_overrides(tmp_path, None, given, user_settings(tmp_path, None, given)) == []
    own = tmp_path / "mine.ini"
    own.write_text("[node]\nname = porch\n")
    assert lost_overrides(tmp_path, own, (), user_settings(tmp_path, own, ())) == ["recorder.record_period=5"]
    plan = make_plan(tmp_path, user_settings(tmp_path, own, ()))
    save_plan(tmp_path, plan)
    assert lost_overrides(tmp_path, None, (), user_settings(tmp_path, None, ())) == []


def test_a_setting_of_the_last_start_that_no_longer_exists_is_ignored(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, settings_for(tmp_path))
    save_plan(tmp_path, plan, overrides=("recorder.colour=red",))
    assert lost_overrides(tmp_path, None, (), user_settings(tmp_path, None, ())) == []


def test_a_config_file_of_the_user_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_text("[recorder]\nrecord_period = 5\n")
    with pytest.raises(ConfigError, match="--config FILE") as caught:
        settings_for(tmp_path)
    assert caught.value.exit_code == 78


@pytest.mark.parametrize("name", ["config.ini", "mine.ini"])
def test_a_users_config_is_not_overwritten_even_with_config_given(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.ini").write_text("[recorder]\nrecord_period = 5\n")
    (tmp_path / "mine.ini").write_text("")
    with pytest.raises(ConfigError, match="--config FILE"):
        user_settings(tmp_path, tmp_path / name, (), {})


def test_a_config_file_given_explicitly_is_read(tmp_path: Path) -> None:
    own = tmp_path / "mine.ini"
    own.write_text("[recorder]\nrecord_period = 7\n")
    assert user_settings(tmp_path, own, (), {}).recorder.record_period == 7
    with pytest.raises(ConfigError, match="no such file"):
        user_settings(tmp_path, tmp_path / "typo.ini", (), {})


def test_the_generated_config_given_explicitly_is_ignored(tmp_path: Path) -> None:
    save_plan(tmp_path, make_plan(tmp_path, settings_for(tmp_path)))
    assert user_settings(tmp_path, tmp_path / "config.ini", (), {}).mqtt.host == ""


def test_secrets_from_the_environment_are_not_written(tmp_path: Path) -> None:
    environ = {"IMHEARING_ABLY_API_KEY": "app.key:from-environment"}
    overrides = ("mqtt.host=h", "mqtt.password=from-command-line")
    chosen = settings_for(tmp_path, *overrides, environ=environ)
    places = secrets_of_environment(tmp_path, None, overrides, chosen)
    assert places == [("ably", "api_key")]
    save_plan(tmp_path, make_plan(tmp_path, chosen), places)
    text = (tmp_path / "config.ini").read_text()
    assert "from-environment" not in text
    assert "from-command-line" in text


def test_an_unwritable_data_folder_is_reported(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, settings_for(tmp_path, *CONFIGURED))
    missing = tmp_path / "missing"
    with pytest.raises(ImHearingError, match="use another with --data"):
        save_plan(missing, plan)
    assert not os.path.lexists(missing)
