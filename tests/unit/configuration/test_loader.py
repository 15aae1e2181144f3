"""Loading settings from config.ini, the environment and --set: every kind of fault, and no secret is ever shown."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.configuration import loader as config
from edge.configuration.loader import _SECRETS, load
from edge.configuration.settings import Secret
from edge.core.errors import ConfigError
from tests.support.privileges import without_root_privileges

ROOT = Path(__file__).parents[3]
NOTHING: dict[str, str] = {}


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "config.ini"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def faults(folder: Path, text: str, mode: int = 0o600, **arguments: Any) -> list[str]:
    write(folder, text, mode)
    with pytest.raises(ConfigError) as caught:
        load(folder, environ=arguments.pop("environ", NOTHING), **arguments)
    assert caught.value.exit_code == 78
    return caught.value.faults


def test_defaults_apply_without_a_file_and_paths_are_absolute(tmp_path: Path) -> None:
    settings = load(tmp_path, environ=NOTHING)
    assert settings.recorder.record_path == tmp_path / "spool"
    assert settings.catalog.db_path == tmp_path / "catalog.db"
    assert settings.recorder.record_period == 60
    assert settings.node.name


@pytest.mark.parametrize(
    ("section", "setting", "example"),
    [("archive", "upload_window = 24:00-06:00", "22:00-06:00"), ("s3", "tags = a=b=c", "project=garden&kind=sound")],
)
def test_text_of_the_wrong_form_is_answered_with_an_example_not_a_regular_expression(
    tmp_path: Path, section: str, setting: str, example: str
) -> None:
    (fault,) = faults(tmp_path, f"[{section}]\n{setting}\n")
    assert fault.endswith(f": expected text such as {example}")


def test_an_upload_window_without_a_length_is_refused_instead_of_lasting_all_day(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "[archive]\nupload_window = 22:00-22:00\n")
    assert fault.endswith(": '22:00-22:00' starts and ends at the same time; leave it empty to upload all day")


def test_overrides_beat_environment_beats_credentials_beats_file(tmp_path: Path) -> None:
    write(tmp_path, "[s3]\nsecret_access_key = file\n[recorder]\nrecord_period = 5\n")
    (tmp_path / "imhearing_s3_secret_access_key").write_text("credential\n")
    place = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    environ = {**place, "IMHEARING_S3_SECRET_ACCESS_KEY": "environment"}

    def secret(environ: dict[str, str], *overrides: str) -> str:
        return load(tmp_path, None, overrides, environ).s3.secret_access_key.reveal()

    assert secret({}) == "file"
    assert secret(place) == "credential"
    assert secret(environ) == "environment"
    assert secret(environ, "s3.secret_access_key=given") == "given"
    assert load(tmp_path, None, ["recorder.record_period=7"], NOTHING).recorder.record_period == 7


@pytest.fixture
def credentials() -> Iterator[Path]:
    """A folder that every user can access: pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="imhearing-credentials-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def unreadable(folder: Path) -> str:
    with without_root_privileges(), pytest.raises(ConfigError) as caught:
        load(Path("/nonexistent"), environ={"CREDENTIALS_DIRECTORY": str(folder)})
    [fault] = caught.value.faults
    return fault


@pytest.mark.parametrize("mode", [0o000, 0o600])
def test_an_unreadable_credentials_folder_is_reported_once(credentials: Path, mode: int) -> None:
    (credentials / "imhearing_s3_secret_access_key").write_text("hush-hush")
    credentials.chmod(mode)
    fault = unreadable(credentials)
    credentials.chmod(0o700)
    assert fault.startswith(f"{credentials}: cannot be read (Permission denied); ")
    assert "CREDENTIALS_DIRECTORY" in fault


def test_a_credential_that_cannot_be_read_is_reported_once_by_path(credentials: Path) -> None:
    file = credentials / "imhearing_s3_secret_access_key"
    file.write_text("hush-hush")
    file.chmod(0o000)
    assert unreadable(credentials).startswith(f"{file}: cannot be read (Permission denied); ")
    file.chmod(0o644)
    file.write_bytes(b"\xff\xfe")
    assert unreadable(credentials).startswith(f"{file}: is not UTF-8 text; ")
    file.unlink()
    file.mkdir()
    assert unreadable(credentials).startswith(f"{file}: cannot be read (Is a directory); ")


def test_a_missing_credentials_folder_is_ignored(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", Path(__file__)):
        assert not load(tmp_path, environ={"CREDENTIALS_DIRECTORY": str(folder)}).s3.secret_access_key.reveal()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[recorder]\nrecord_period = soon\n", ["[recorder] record_period", "'soon'", "a number"]),
        ("[recorder]\nrecord_period = 0\n", ["[recorder] record_period", ">= 1"]),
        ("[recorder]\nrecord_period = nan\n", ["[recorder] record_period"]),
        ("[recorder]\nrecord_period = inf\n", ["[recorder] record_period"]),
        ("[recorder]\nsample_rate = 48000.5\n", ["[recorder] sample_rate", "a whole number"]),
        ("[recorder]\nformat = mp3\n", ["[recorder] format", "flac, wav"]),
        ("[recorder]\nbits = 20\n", ["[recorder] bits", "16, 24"]),
        ("[recorder]\nrecord_path =\n", ["[recorder] record_path", "a path"]),
        ("[recorder]\nrecord_perod = 5\n", ["record_perod", "did you mean record_period?"]),
        ("[recorder]\nxyzzy = 5\n", ["xyzzy", "known:", "record_path"]),
        ("[recoder]\nrecord_period = 5\n", ["[recoder]", "did you mean recorder?"]),
        ("[mqtt]\nport = 0\n", ["[mqtt] port", ">= 1"]),
        ("[mqtt]\nport = 65536\n", ["[mqtt] port", "<= 65535"]),
        ("[node]\nname = Pörch\n", ["[node] name", "a-z"]),
        ("[node]\nname = all\n", ["[node] name", "not `all`"]),
        ("record_period = 5\n", ["outside any section"]),
        ("[recorder]\nrecord_period = 5\nrecord_period = 6\n", ["record_period", "set twice"]),
        ("[recorder]\nnonsense\n", ["line 2", "key = value"]),
        ("[recorder]\n[recorder]\n", ["line 2", "appears twice"]),
    ],
)
def test_a_configuration_fault_names_its_place_and_the_remedy(tmp_path: Path, text: str, expected: list[str]) -> None:
    found = faults(tmp_path, text)
    assert len(found) == 1
    assert str(tmp_path / "config.ini") in found[0]
    for fragment in expected:
        assert fragment in found[0]


def test_former_names_are_a_list_of_valid_names(tmp_path: Path) -> None:
    write(tmp_path, "[node]\nname = garden\nformer_names = porch, attic ,,garden\n")
    assert load(tmp_path, environ=NOTHING).node.earlier_names == ("porch", "attic")
    [fault] = faults(tmp_path, "[node]\nformer_names = porch, The Attic\n")
    assert "[node] former_names = 'The Attic': use up to 63 of a-z" in fault


def test_all_configuration_faults_are_reported_at_once(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        "[recorder]\nrecord_period = soon\nbits = 20\n[mqtt]\nprot = 1\n[nothing]\na = b\n",
        overrides=["mqtt.port=x", "what"],
    )
    assert len(found) == 6


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("recorder.record_period", "SECTION.KEY=VALUE"),
        ("=5", "SECTION.KEY=VALUE"),
        ("recoder.record_period=5", "did you mean recorder?"),
        ("recorder.record_perod=5", "did you mean record_period?"),
        ("recorder.record_period=x", "--set recorder.record_period = 'x'"),
    ],
)
def test_an_invalid_override_is_reported_with_a_suggestion(tmp_path: Path, override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, None, [override], NOTHING)
    assert expected in str(caught.value)


def test_a_config_file_given_explicitly_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file; start from config_example\.ini"):
        load(tmp_path, tmp_path / "mine.ini", environ=NOTHING)


def test_a_folder_in_place_of_the_config_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, tmp_path, environ=NOTHING)


def test_a_config_file_without_read_permission_is_a_fault(tmp_path: Path) -> None:
    path = write(tmp_path, "[recorder]\n", 0o000)
    if os.access(path, os.R_OK):
        pytest.skip("root reads everything")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, environ=NOTHING)


def test_a_config_file_that_is_not_utf8_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_bytes(b"[node]\nname = \xff\xfe\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path, environ=NOTHING)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_secrets_in_a_file_readable_by_others_are_a_fault(tmp_path: Path, mode: int) -> None:
    found = faults(tmp_path, "[ably]\napi_key = app.key:hidden\n", mode)
    assert found == [
        f"{tmp_path}/config.ini: contains secrets but other users can read it; run: chmod 600 {tmp_path}/config.ini"
    ]


def test_a_file_without_secrets_may_be_readable_by_others(tmp_path: Path) -> None:
    write(tmp_path, "[recorder]\nrecord_period = 5\n[ably]\napi_key =\n", 0o644)
    assert load(tmp_path, environ=NOTHING).recorder.record_period == 5


@pytest.mark.parametrize(("section", "key"), _SECRETS)
def test_secrets_never_appear_in_faults_or_when_settings_are_printed(tmp_path: Path, section: str, key: str) -> None:
    secret = "xyzzy:plugh"
    found = faults(tmp_path, f"[{section}]\n{key} = {secret}\n{key}x = {secret}\n", 0o644)
    assert len(found) == 2
    assert secret not in str(found)
    write(tmp_path, f"[{section}]\n{key} = {secret}\n")
    settings = load(tmp_path, environ=NOTHING)
    assert secret not in f"{settings} {settings!r} {getattr(settings, section)}"
    assert getattr(getattr(settings, section), key).reveal() == secret


@pytest.mark.parametrize("text", ["api_key = {}\n", "[ably]\napi_key {}\n", "[ably]\napi_key = {}\napi_key = {}\n"])
def test_faults_of_a_malformed_file_do_not_quote_its_secrets(tmp_path: Path, text: str) -> None:
    assert "xyzzyplugh" not in str(faults(tmp_path, text.replace("{}", "xyzzyplugh")))


def test_an_empty_secret_prints_as_empty() -> None:
    assert f"{Secret()}{Secret()!r}" == "''"


def test_a_tilde_in_a_path_is_expanded(tmp_path: Path) -> None:
    write(tmp_path, "[recorder]\nrecord_path = ~/sounds\n[catalog]\ndb_path = /var/lib/x.db\n")
    settings = load(tmp_path, environ=NOTHING)
    assert settings.recorder.record_path == Path.home() / "sounds"
    assert settings.catalog.db_path == Path("/var/lib/x.db")


@pytest.mark.parametrize("value", ["a\x00b", "a\x1bb", "a\x7f", os.fsdecode(b"a\xff")])
def test_a_value_that_no_file_can_hold_is_a_fault(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="expected UTF-8 text without control characters"):
        load(tmp_path, None, [f"node.location={value}"], NOTHING)


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    write(tmp_path, "\ufeff[recorder]\r\nrecord_period = 7\r\n")
    assert load(tmp_path, environ=NOTHING).recorder.record_period == 7
    (tmp_path / "imhearing_mqtt_password").write_text("\ufeffsecret\n", encoding="utf-8")
    assert load(tmp_path, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}).mqtt.password.reveal() == "secret"


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("recorder.perod", "record_period"),
        ("recorder.periode", "record_period"),
        ("recorder.devise", "device"),
        ("recorder.prerol", "pre_roll"),
        ("recorder.samplerate", "sample_rate"),
        ("thresholds.records", "records_count"),
        ("mqtt.user", "username"),
        ("mqtt.cafile", "ca_file"),
        ("s3.bucket", "s3_bucket_name"),
    ],
)
def test_a_misspelt_setting_is_taken_for_the_one_with_the_most_similar_word(
    tmp_path: Path, misspelt: str, meant: str
) -> None:
    with pytest.raises(ConfigError, match=rf"did you mean {meant}\?"):
        load(tmp_path, None, [f"{misspelt}=5"], NOTHING)


@pytest.mark.parametrize(
    ("host", "hint"),
    [
        ("mqtt://broker", "; use host = broker"),
        ("mqtts://broker:8883", "; use host = broker, port = 8883, tls = on"),
        ("wss://broker/mqtt", "; use host = broker, tls = on, transport = websockets"),
        ("broker:1884", "; use host = broker, port = 1884"),
        ("//ann:xyzzy@broker", "; use host = broker"),
        ("[::1]:1883", "; use host = ::1, port = 1883"),
        ("two words", ""),
        ("mqtt://", ""),
        ("broker:port", ""),
    ],
)
def test_a_url_as_host_is_a_fault_that_says_what_to_set(tmp_path: Path, host: str, hint: str) -> None:
    [fault] = faults(tmp_path, f"[mqtt]\nhost = {host}\n")
    assert fault.endswith(f"[mqtt] host: expected only a host name or an address{hint}")
    assert "xyzzy" not in fault


@pytest.mark.parametrize(
    "host", ["broker", "homeassistant.local", "my_pi", "bücher.example", "10.0.0.1", "::1", "a.b."]
)
def test_host_names_and_addresses_are_hosts(tmp_path: Path, host: str) -> None:
    write(tmp_path, f"[mqtt]\nhost = {host}\n")
    assert load(tmp_path, environ=NOTHING).mqtt.host == host


def test_the_host_of_the_broker_may_be_the_path_of_a_socket(tmp_path: Path) -> None:
    mqtt = load(tmp_path, None, ["mqtt.host=unix:/run/imhearing-broker/mqtt.sock"], NOTHING).mqtt
    assert mqtt.socket_path == "/run/imhearing-broker/mqtt.sock"
    assert mqtt.address == "unix:/run/imhearing-broker/mqtt.sock"
    below = load(tmp_path, None, ["mqtt.host=unix:broker/mqtt.sock"], NOTHING).mqtt
    assert below.socket_path == str(tmp_path / "broker/mqtt.sock")
    assert load(tmp_path, None, ["mqtt.host=broker"], NOTHING).mqtt.socket_path is None


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("mqtt.host=unix:", "[mqtt] host: the path"),
        ("mqtt.tls=on", "[mqtt] tls: does not apply to a Unix socket"),
        ("mqtt.transport=websockets", "[mqtt] transport: does not apply to a Unix socket"),
    ],
)
def test_settings_that_a_socket_cannot_have_are_faults(tmp_path: Path, setting: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, None, ["mqtt.host=unix:/run/x/mqtt.sock", setting], NOTHING)
    assert any(fault.removeprefix("[mqtt] ").split(":")[1] in each for each in caught.value.faults)


def test_a_tilde_with_an_unknown_user_is_no_internal_error(tmp_path: Path) -> None:
    settings = load(tmp_path, None, ["recorder.record_path=~no-such-user/x", "mqtt.ca_file=~no-such-user/y"], NOTHING)
    assert settings.recorder.record_path == tmp_path / "~no-such-user/x"


def test_the_default_data_folder_follows_xdg() -> None:
    assert config.default_data_dir({"XDG_DATA_HOME": "/data"}) == Path("/data/imhearing")
    assert config.default_data_dir({}) == Path.home() / ".local/share/imhearing"
