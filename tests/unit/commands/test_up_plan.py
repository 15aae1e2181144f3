"""What `imhearing up` decides and remembers, before anything is started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from commands.up import plan as up_plan
from commands.up.plan import MARKER, Memory, asked_settings, make_plan, recall, remember, secrets_of_environment
from edge.configuration import loader as config
from edge.configuration.settings import Settings
from edge.core.errors import ConfigError, ImHearingError
from edge.embedded import ports

CONFIGURED = (
    "mqtt.host=broker.example.org", "s3.s3_bucket_name=sounds", "ably.api_key=app.key:secret", "http.port=8480",
)  # fmt: skip


def asked(folder: Path, *overrides: str, environ: dict[str, str] | None = None) -> Settings:
    return asked_settings(folder, None, overrides, environ or {})


def test_what_is_not_configured_is_started_here(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, asked(tmp_path))
    assert [part.name for part in plan.servers] == ["broker", "store", "realtime-server"]
    assert [part.name for part in plan.services] == ["recorder", "archiver", "query-service"]
    settings = plan.settings
    assert settings.mqtt.host == "127.0.0.1"
    assert settings.s3.endpoint_url == f"http://127.0.0.1:{plan.memory.store_port}"
    assert settings.ably.endpoint == f"127.0.0.1:{plan.memory.realtime_port}"
    assert settings.ably.api_key.reveal().startswith("local.")
    assert len({plan.memory.broker_port, plan.memory.store_port, plan.memory.realtime_port}) == 3


def test_what_is_configured_is_left_to_its_owner(tmp_path: Path) -> None:
    chosen = asked(tmp_path, *CONFIGURED)
    plan = make_plan(tmp_path, chosen)
    assert plan.servers == []
    assert plan.settings == chosen
    assert "secret" not in str(plan.notes)


@pytest.mark.parametrize("name", ["nofile.wav", "text.md", "empty.wav"])
def test_a_file_that_cannot_be_played_is_refused_before_anything_begins(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.md").write_text("# no sound\n")
    (tmp_path / "empty.wav").write_bytes(b"")
    data, source = tmp_path / "data", tmp_path / name
    command = [sys.executable, "-m", "imhearing", "up", "--data", str(data), "--set", f"recorder.source={source}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"imhearing: {source}: ")
    assert done.stderr.count("\n") == 1
    assert "set [recorder] source to a sound file" in done.stderr
    assert not data.exists()


def test_a_port_that_somebody_has_is_not_announced_as_ours(tmp_path: Path) -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        notes = make_plan(tmp_path, asked(tmp_path, *CONFIGURED, f"http.port={port}")).notes
        assert notes[-1] == f"http      127.0.0.1:{port} cannot be had now: no HTTP door until it can"
    assert make_plan(tmp_path, asked(tmp_path, *CONFIGURED, f"http.port={port}")).notes[-1] == (
        f"http      127.0.0.1:{port}"
    )


def test_an_address_that_is_not_ours_is_not_announced(tmp_path: Path) -> None:
    wanted = (*CONFIGURED, "http.host=192.0.2.1", "http.token=0123456789abcdef")
    assert "no HTTP door" in make_plan(tmp_path, asked(tmp_path, *wanted)).notes[-1]
    everywhere = (*CONFIGURED, "http.host=::1", f"http.port={ports.choose(None)}")
    assert "no HTTP door" not in make_plan(tmp_path, asked(tmp_path, *everywhere)).notes[-1]


def test_secrets_are_on_no_command_line(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, asked(tmp_path, "mqtt.password=xyzzy"))
    words = " ".join(word for part in [*plan.servers, *plan.services] for word in part.command)
    for secret in ("xyzzy", plan.memory.store_secret, plan.memory.realtime_key):
        assert secret not in words


def test_the_next_start_uses_the_same_ports_and_keys(tmp_path: Path) -> None:
    first = make_plan(tmp_path, asked(tmp_path))
    remember(tmp_path, first)
    again = make_plan(tmp_path, asked(tmp_path))
    assert again.memory == first.memory
    assert again.settings == first.settings


def test_a_port_that_somebody_took_meanwhile_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up_plan, "_PORT_PATIENCE", 0.0)
    first = make_plan(tmp_path, asked(tmp_path))
    remember(tmp_path, first)
    taken = first.memory.store_port
    monkeypatch.setattr(ports, "is_free", lambda port, *_: port != taken)
    again = make_plan(tmp_path, asked(tmp_path))
    assert again.memory.store_port != taken
    assert again.memory.store_secret == first.memory.store_secret


def test_a_damaged_memory_is_none(tmp_path: Path) -> None:
    (tmp_path / "up.json").write_text("{nonsense")
    assert recall(tmp_path) == Memory()


def test_what_is_written_is_ours_alone_and_loads_again(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, asked(tmp_path, "recorder.record_period=5", "node.name=porch"))
    remember(tmp_path, plan)
    for name in ("config.ini", "up.json"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    text = (tmp_path / "config.ini").read_text()
    assert MARKER in text.splitlines()[0]
    assert "--config" in text.splitlines()[1]
    assert config.load(tmp_path, environ={}) == plan.settings


def test_an_earlier_start_does_not_decide_for_the_next(tmp_path: Path) -> None:
    remember(tmp_path, make_plan(tmp_path, asked(tmp_path, "recorder.record_period=5")))
    assert asked(tmp_path).recorder.record_period == 60
    assert asked(tmp_path).mqtt.host == ""


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_text("[recorder]\nrecord_period = 5\n")
    with pytest.raises(ConfigError, match="--config FILE") as caught:
        asked(tmp_path)
    assert caught.value.exit_code == 78


@pytest.mark.parametrize("name", ["config.ini", "mine.ini"])
def test_naming_a_config_does_not_excuse_overwriting_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.ini").write_text("[recorder]\nrecord_period = 5\n")
    (tmp_path / "mine.ini").write_text("")
    with pytest.raises(ConfigError, match="--config FILE"):
        asked_settings(tmp_path, tmp_path / name, (), {})


def test_a_config_that_is_named_is_read(tmp_path: Path) -> None:
    own = tmp_path / "mine.ini"
    own.write_text("[recorder]\nrecord_period = 7\n")
    assert asked_settings(tmp_path, own, (), {}).recorder.record_period == 7
    with pytest.raises(ConfigError, match="no such file"):
        asked_settings(tmp_path, tmp_path / "typo.ini", (), {})


def test_naming_what_up_wrote_is_naming_nothing(tmp_path: Path) -> None:
    remember(tmp_path, make_plan(tmp_path, asked(tmp_path)))
    assert asked_settings(tmp_path, tmp_path / "config.ini", (), {}).mqtt.host == ""


def test_secrets_of_the_environment_stay_there(tmp_path: Path) -> None:
    environ = {"IMHEARING_ABLY_API_KEY": "app.key:from-environment"}
    overrides = ("mqtt.host=h", "mqtt.password=from-command-line")
    chosen = asked(tmp_path, *overrides, environ=environ)
    places = secrets_of_environment(tmp_path, None, overrides, chosen)
    assert places == [("ably", "api_key")]
    remember(tmp_path, make_plan(tmp_path, chosen), places)
    text = (tmp_path / "config.ini").read_text()
    assert "from-environment" not in text
    assert "from-command-line" in text


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, asked(tmp_path, *CONFIGURED))
    missing = tmp_path / "gone"
    with pytest.raises(ImHearingError, match="name another with --data"):
        remember(missing, plan)
    assert not os.path.lexists(missing)
