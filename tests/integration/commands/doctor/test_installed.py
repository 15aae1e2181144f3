"""On a node installed by `scripts/install`, the doctor's remedies are right, and deploy/imhearing runs them."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from commands import broker_setup, configure
from commands.doctor import broker, doors, installed, local_data, machine
from commands.doctor.node_under_test import NodeUnderTest
from edge.configuration.loader import load
from edge.configuration.settings import Ably, Mqtt, Secret, Settings
from edge.core.kernel_clock import KernelClock
from edge.messaging.access import ACCOUNTS, Passwords
from edge.messaging.broker_configuration import ETC
from tests.support.wait import DEADLINE

ROOT = Path(__file__).parents[4]
NODE = NodeUnderTest(Settings(), installed.DATA, installed.CONFIG, by_up=False, kernel=KernelClock())
RESTART = "sudo systemctl restart imhearing.target"
CREDSTORE = "sudo install -m 600 /dev/stdin /etc/credstore"
PASTE = "  # paste the secret, Enter, Ctrl-D"


def elsewhere(folder: Path, *, by_up: bool = False) -> NodeUnderTest:
    return NodeUnderTest(load(folder, environ={}), folder, folder / "config.ini", by_up, KernelClock())


# remedies


def test_commands_use_sudo_and_omit_the_default_paths() -> None:
    assert NODE.command("archive") == "sudo imhearing archive"
    assert NODE.as_root("broker-setup") == "sudo imhearing broker-setup"
    assert NODE.configure("http.port=0") == "sudo imhearing configure http.port=0"
    assert NODE.configure("recorder.device=Blue Yeti") == "sudo imhearing configure 'recorder.device=Blue Yeti'"


@pytest.mark.parametrize(("data", "config"), [("/var/lib/imhearing", None), ("/var/lib/imhearing", "/root/my.ini")])
def test_remedies_for_another_config_file_name_the_data_folder(data: str, config: str | None) -> None:
    node = NODE._replace(data_dir=Path(data), config_file=Path(config) if config else None)
    assert node.command("status").startswith("imhearing status --data /var/lib/imhearing")
    assert node.as_root("status").startswith("sudo imhearing status --data")


def test_the_archiver_is_restarted_even_if_the_command_fails(tmp_path: Path) -> None:
    stop, start = "sudo systemctl stop imhearing-archiver", "sudo systemctl start imhearing-archiver"
    assert NODE.while_archiver_stopped("catalog rebuild") == f"{stop} && sudo imhearing catalog rebuild; {start}"
    output = NODE.while_archiver_stopped("catalog rebuild", first="sudo mv a b")
    assert output == f"{stop} && sudo mv a b && sudo imhearing catalog rebuild; {start}"
    plain = f"imhearing catalog rebuild --data {tmp_path}"
    assert elsewhere(tmp_path).while_archiver_stopped("catalog rebuild") == plain
    assert elsewhere(tmp_path, by_up=True).while_archiver_stopped("catalog rebuild").startswith(f"{plain}  # stop")


def test_remedies_give_fixed_files_to_the_nodes_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("USER", "root")
    assert NODE.give_back(Path("/var/lib/imhearing/spool")) == "sudo /opt/imhearing/current/scripts/install"
    assert (NODE.sudo, NODE.user) == ("sudo ", "imhearing-recorder")
    assert (elsewhere(tmp_path).sudo, elsewhere(tmp_path).user) == ("", "$USER")
    (tmp_path / "spool").write_text("")
    remedy = local_data.check_writable(NODE, tmp_path / "spool").remedy
    assert remedy == f"sudo mv {tmp_path}/spool {tmp_path}/spool.aside"
    (tmp_path / "recorder").mkdir()
    (tmp_path / "recorder" / "calibration.json").write_text("[]")
    kept = Settings(catalog=replace(Settings().catalog, db_path=tmp_path / "catalog.db"))
    remedy = machine.check_calibration(NODE._replace(settings=kept)).remedy
    assert remedy.startswith("sudo mv ")
    assert remedy.endswith(" && sudo imhearing calibrate")


def test_the_remedy_for_libraries_runs_the_installed_versions_setup(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("nobody-has-this==1.0\n")
    found = machine.check_libraries(tmp_path / "requirements.txt", NODE.setup())
    assert found.remedy == "sudo /opt/imhearing/current/scripts/setup"
    assert elsewhere(tmp_path).setup() == "scripts/setup"


# the broker


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "units"
    folder.mkdir()
    monkeypatch.setattr(installed, "UNITS", folder)
    return folder


@pytest.mark.parametrize("own", [True, False])
def test_remedies_prefer_the_nodes_own_broker_service_over_debians(units: Path, own: bool) -> None:
    name = "imhearing-broker" if own else "mosquitto"
    if own:
        (units / "imhearing-broker.service").touch()
    node = NODE._replace(settings=Settings(mqtt=Mqtt(host="127.0.0.1", port=1)))
    assert broker.check_connect(node).remedy == f"sudo systemctl enable --now {name}"
    rights = broker.check_rights(node, ["archiver"])
    assert rights.remedy == f"sudo imhearing broker-setup --into {ETC} && sudo systemctl reload {name}"


def test_broker_setup_explains_the_steps_for_the_nodes_own_broker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passwords: Passwords = dict.fromkeys(ACCOUNTS, "hush")
    broker_setup.print_instructions(tmp_path, "porch", "pi.local", passwords)
    assert "systemctl restart mosquitto" in capsys.readouterr().err
    (tmp_path / ".ours").touch()
    broker_setup.print_instructions(tmp_path, "porch", "pi.local", passwords)
    output = capsys.readouterr().err
    assert "restart mosquitto" not in output
    assert "/etc/credstore/imhearing_mqtt_${role}_password" in output
    assert RESTART in output
    broker_setup.print_instructions(tmp_path, "porch", "pi.local", None)
    assert "sudo systemctl restart imhearing-broker\n" in capsys.readouterr().err


# secrets that do not come from config.ini


def test_the_remedy_for_a_secret_from_a_credential_changes_the_credential(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IMHEARING_ABLY_API_KEY", "no-key-at-all")
    node = NODE._replace(settings=Settings(ably=Ably(api_key=Secret("no-key-at-all"))))
    remedy = doors.check_key(node).remedy
    assert remedy == f"{CREDSTORE}/imhearing_ably_api_key && {RESTART}{PASTE}"
    both = NODE.configure("ably.api_key=-", "mqtt.username=USER")
    configure_username = "sudo imhearing configure mqtt.username=USER"
    assert both == f"{CREDSTORE}/imhearing_ably_api_key && {configure_username} && {RESTART}{PASTE}"
    here = elsewhere(tmp_path).configure("ably.api_key=-")
    assert here == f"unset IMHEARING_ABLY_API_KEY && imhearing configure ably.api_key=- --data {tmp_path}"


def test_the_remedy_for_another_services_credential_changes_that_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert "configure" in elsewhere(tmp_path).configure("ably.api_key=-")
    (tmp_path / "imhearing_ably_api_key").write_text("x")
    output = elsewhere(tmp_path).configure("ably.api_key=-")
    assert output == f"install -m 600 /dev/stdin {tmp_path}/imhearing_ably_api_key{PASTE}"


def test_configure_warns_if_a_setting_is_overridden(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMHEARING_ABLY_API_KEY", "old")
    monkeypatch.setattr("sys.stdin", io.StringIO("new.key:secret\n"))
    monkeypatch.setattr(installed, "DATA", tmp_path)
    monkeypatch.setattr(installed, "CONFIG", tmp_path / "config.ini")
    args = argparse.Namespace(
        data=tmp_path, config=tmp_path / "config.ini", overrides=[], changes=["ably.api_key=-", "http.port=0"]
    )
    assert configure.run(args) == 0
    assert load(tmp_path, environ={}).ably.api_key.reveal() == "new.key:secret"
    output = capsys.readouterr().err
    assert output.count("warning") == 1
    assert "[ably] api_key has no effect: /etc/credstore/imhearing_ably_api_key overrides" in output
    assert f"{CREDSTORE}/imhearing_ably_api_key" in output
    assert "new.key" not in output
    args.config, args.changes = None, ["ably.api_key="]
    configure.run(args)
    assert "$IMHEARING_ABLY_API_KEY overrides" in capsys.readouterr().err


# deploy/imhearing


class Wrapper:
    """The real one, but that its places are below `folder` and that it notes whose rights it takes."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "var"
        self.data.mkdir()
        self.log = folder / "log"
        text = (ROOT / "deploy/imhearing").read_text()
        for place, here in (
            ("/opt/imhearing/current/.venv/bin/imhearing", folder / "program"),
            ("/var/lib/imhearing", self.data),
            ("/etc/imhearing", folder / "etc"),
            ("/etc/credstore", folder / "credstore"),
        ):
            assert place in text
            text = text.replace(place, str(here))
        self._program(folder / "imhearing", text)
        self._program(folder / "program", f'#!/bin/sh\nprintf "%s|" "${{AS:-caller}}" "$@" >>{self.log}\n')
        self._program(
            folder / "runuser", '#!/bin/sh\n[ "$1 $3" = "-u --" ] || exit 9\nAS=$2; export AS; shift 3; exec "$@"\n'
        )
        self._program(folder / "id", "#!/bin/sh\necho 0\n")
        for program in ("chmod", "chown"):
            self._program(folder / program, f'#!/bin/sh\nprintf "%s|" {program} "$1" >>{self.log}\n')
        self.folder = folder

    def _program(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def __call__(self, *words: str) -> str:
        """Who ran, with what."""
        self.log.unlink(missing_ok=True)
        environ = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"}
        subprocess.run([self.folder / "imhearing", *words], env=environ, check=True, cwd=self.folder, timeout=DEADLINE)
        return self.log.read_text().replace(str(self.folder), "").rstrip("|")


@pytest.fixture
def wrapper(tmp_path: Path) -> Wrapper:
    return Wrapper(tmp_path)


@pytest.mark.parametrize("place", [[], ["--data", "{}"], ["--data={}/"], ["--data", "{}", "--data=var"]])
@pytest.mark.parametrize("config", [[], ["--config", "{}/../etc/config.ini"]])
def test_a_command_on_the_default_folder_runs_as_one_of_the_nodes_users(
    wrapper: Wrapper, place: list[str], config: list[str]
) -> None:
    named = [word.format(wrapper.data) for word in (*place, *config)]
    ran = wrapper("catalog", *named, "rebuild")
    settings = "--config|/var/../etc/config.ini|rebuild|--data|/var"
    expected = settings if config else "rebuild|--data|/var|--config|/etc/config.ini"
    assert ran == f"imhearing-archiver|catalog|{expected}"
    assert wrapper("configure", "node.name=a b", *named).startswith("caller|configure|node.name=a b|")
    assert wrapper("configure", "node.name=a b", *named).endswith("|chmod|640|chown|root:imhearing")


@pytest.mark.parametrize(
    ("user", "commands"),
    [
        ("recorder", ["recorder", "pause", "resume", "adopt", "calibrate", "devices", "doctor"]),
        ("archiver", ["archiver", "hold", "forget", "catalog", "make-bucket"]),
        ("query", ["query-service", "query", "status", "watch", "rotate", "archive", "token", "unannounce"]),
    ],
)
def test_a_command_runs_as_the_user_that_may_write_what_it_writes(
    wrapper: Wrapper, user: str, commands: list[str]
) -> None:
    for command in commands:
        assert wrapper(command).startswith(f"imhearing-{user}|{command}|")


@pytest.mark.parametrize(
    "place", [["--data", "/elsewhere"], ["--data=/elsewhere"], ["--data"], ["--data", "{}", "--data=/x"]]
)
def test_a_command_on_another_folder_runs_as_the_caller(wrapper: Wrapper, place: list[str]) -> None:
    ran = wrapper("status", *(word.format(wrapper.data) for word in place))
    assert ran.startswith("caller|status|--data")
    assert "config" not in ran
    assert wrapper("status", "--help", "--data", str(wrapper.data)) == "caller|status|--help|--data|/var"


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 10, 9), "fault"), ((3, 11, 2), "ok"), ((3, 12, 6), "warning"), ((3, 12, 7), "ok"), ((3, 14, 0), "fault")],
)
def test_unsupported_and_memory_leaking_python_versions_are_reported(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], state: str
) -> None:
    monkeypatch.setattr("sys.version_info", version)
    found = machine.check_python(NODE)
    assert (found.state, ".".join(map(str, version)) in found.message) == (state, True)
