"""`imhearing up` as a real process: it starts, survives its children, and ends without leaving anything behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.up.plan import load_state
from edge.embedded import ports
from tests.support.messaging.odd_brokers import make_certificate, make_plain_ca, tls_broker
from tests.support.nodes.running_node import ROLES, RunningNode, running_node
from tests.support.terminal import Terminal, plain
from tests.support.wait import DEADLINE, wait_until

pytestmark = pytest.mark.slow

FAST = ("node.name=porch", "recorder.source=synthetic", "recorder.record_period=1", "thresholds.records_count=2")

LEFTOVERS = (
    "up.json.0123abcd.tmp",
    "config.ini.0123abcd.tmp",
    "broker/mosquitto.conf.0123abcd.tmp",
    "store/imhearing/porch/.rclone_temp_put_0123",
    "holds.json.0123abcd.tmp",
    "holds.json.tmp",
    "instance.0123abcd.tmp",
    "orders/erase-0123456789abcdef.json.tmp",
    "orders/result-0123456789abcdef.json.0123abcd.tmp",
    "spool/settings.json.tmp",
    "spool/state.json.0123abcd.tmp",
    "spool/.probe-123",
)


def command(data: Path, *arguments: str) -> list[str]:
    sets = [part for setting in FAST for part in ("--set", setting)]
    return [sys.executable, "-m", "imhearing", "up", "--data", str(data), *sets, *arguments]


def fresh(folder: Path) -> Path:
    data = folder / "data"
    data.mkdir(mode=0o700)
    return data


def processes_on(data: Path) -> list[str]:
    """Every process that names the data folder: what `up` starts does."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(data) in line:
            found.append(line)
    return found


def output_of(data: Path) -> str:
    return (data.parent / f"{data.name}.log").read_text()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    data = fresh(tmp_path_factory.mktemp("up"))
    for name in LEFTOVERS:
        (data / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data / name).write_bytes(b"half")
        os.utime(data / name, (1, 1))
    with running_node(data, *FAST) as running:
        yield running


def test_leftovers_of_killed_processes_are_removed_at_the_start(node: RunningNode) -> None:
    wait_until(lambda: [*node.data.glob("spool/*.flac")], "a chunk is finished")
    assert [name for name in LEFTOVERS if (node.data / name).exists()] == []


def test_up_runs_all_processes(node: RunningNode) -> None:
    wait_until(lambda: set(node.processes()) == set(ROLES), "all processes run")


def test_commands_in_a_second_terminal_work(node: RunningNode) -> None:
    def recorded() -> bool:
        return any(interval["state"] == "recorded" for interval in node.query("--last", "1m")["intervals"])

    wait_until(recorded, "something is recorded and uploaded")
    for via in ("local", "ably"):
        for kind in ("coverage", "sounds", "levels", "status"):
            span = () if kind == "status" else ("--last", "1m")
            answer = node.run("query", *span, "--type", kind, "--via", via, "--json")
            assert answer.returncode == 0, answer.stderr
            assert json.loads(answer.stdout)["type"] == kind
    for kind in ("sounds", "levels", "status"):
        span = () if kind == "status" else ("--last", "1m")
        assert "porch" in node.run("query", *span, "--type", kind).stdout
    table = node.run("query", "--last", "1m", "--utc")
    assert "recorded" in table.stdout
    assert "s3://imhearing/" in table.stdout
    output = node.data.parent / "last.flac"
    fetched = node.run("fetch", "--last", "5s", "-o", str(output))
    assert fetched.returncode == 0, fetched.stderr
    assert output.read_bytes().startswith(b"fLaC")
    assert str(output) in fetched.stderr
    assert fetched.stdout == ""


def test_status_shows_that_the_node_is_recording(node: RunningNode) -> None:
    done = node.run("status")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recording" in done.stdout
    status = json.loads(node.run("status", "--json").stdout)
    assert status["recording"] is True
    assert status["services"] == {"recorder": True, "archiver": True, "query-service": True}


def test_watch_shows_the_level(node: RunningNode) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "imhearing", "watch", "--json", "--data", str(node.data)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watching.stdout is not None
    topics = set()
    deadline = threading.Timer(DEADLINE, watching.kill)
    deadline.start()
    try:
        for line in watching.stdout:
            topics.add(json.loads(line)["topic"].partition("/")[2].partition("/")[2])
            if {"recorder/level", "recorder/status"} <= topics:
                break
    finally:
        deadline.cancel()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(DEADLINE) in {130, 141}
    assert {"recorder/level", "recorder/status"} <= topics
    assert watching.stderr is not None
    assert "Traceback" not in watching.stderr.read()


def test_the_plan_is_printed_and_a_synthetic_scene_is_announced(node: RunningNode) -> None:
    wait_until(lambda: "not a microphone" in output_of(node.data), "it says so")
    text = output_of(node.data)
    state = load_state(node.data)
    [line] = set(re.findall(r"^ *(env \S+ mosquitto_sub .*)", text, re.MULTILINE))
    assert "--unix" in line
    assert " -u porch-viewer " in line
    # the others may send any number of messages before the recorder's next one
    subprocess.run(["sh", "-c", f"{line} -W {DEADLINE} | grep --quiet /recorder/"], check=True)
    assert re.search(rf"imhearing query --data {node.data} --last 10m", text)
    for secret in (state.store_secret, state.realtime_key, *state.broker_passwords.values()):
        assert secret not in text


def test_no_secret_is_in_logs_or_on_command_lines(node: RunningNode) -> None:
    state = load_state(node.data)
    texts = [*processes_on(node.data), *(path.read_text() for path in (node.data / "logs").iterdir())]
    keys = (state.store_secret, state.realtime_key, state.realtime_key.partition(":")[2])
    for secret in (*keys, *state.broker_passwords.values()):
        assert not any(secret in text for text in texts)
    assert (node.data.stat().st_mode & 0o777) == 0o700
    for path in (node.data / "logs").iterdir():
        assert path.stat().st_mode & 0o077 == 0


def test_a_second_up_on_the_same_folder_is_rejected(node: RunningNode) -> None:
    second = subprocess.run(command(node.data), capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert second.returncode == 1
    assert f"another `imhearing up` (process {node.process.pid}) is running here" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_killed_child_is_restarted_and_reported(node: RunningNode, role: str) -> None:
    before = wait_until(lambda: node.processes().get(role), f"{role} runs")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: node.processes().get(role, before) != before, f"{role} runs again")
    wait_until(lambda: "ended by signal 9" in output_of(node.data), "the exit is reported")
    wait_until(lambda: set(node.processes()) == set(ROLES), "all processes run")


def test_ctrl_c_stops_everything_in_order(tmp_path: Path) -> None:
    with running_node(fresh(tmp_path), *FAST) as node:
        wait_until(lambda: set(node.processes()) == set(ROLES), "all processes run")
        wait_until(lambda: " chunk finished" in output_of(node.data), "a chunk is finished")
        assert node.stop() == 0
        assert processes_on(tmp_path) == []
        assert "killed" not in output_of(node.data)  # nothing took longer than `up` allows
        assert not list((tmp_path / "data" / "spool").glob("*.part"))  # the last chunk was finished
        spool_state = json.loads((tmp_path / "data" / "spool" / "state.json").read_text())
        assert spool_state["state"] == "stopped"
    state = load_state(tmp_path / "data")
    for port in (state.store_port, state.realtime_port):
        assert port is not None
        assert ports.is_free(port)


def test_kill_9_leaves_no_process_behind_and_the_next_start_continues(tmp_path: Path) -> None:
    data = fresh(tmp_path)
    with running_node(data, *FAST) as node:
        wait_until(lambda: set(node.processes()) == set(ROLES), "all processes run")
        state = load_state(data)
        node.process.kill()
        node.process.wait()
        wait_until(lambda: not processes_on(tmp_path), "nothing is left")
        status = node.run("status")
        assert status.returncode == 1
        assert "recorder  not running (last: recording)" in status.stdout
    with running_node(data, *FAST[:2]) as again:
        wait_until(
            lambda: "no longer set: recorder.record_period=1, thresholds.records_count=2\n" in output_of(data),
            "says so",
        )
        wait_until(lambda: set(again.processes()) == set(ROLES), "all processes run")
        assert load_state(data).store_secret == state.store_secret
        wait_until(lambda: again.run("status").returncode == 0, "it records again")


def test_up_with_for_stops_after_that_time(tmp_path: Path) -> None:
    done = subprocess.run(
        command(fresh(tmp_path), "--for", "4"), capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert processes_on(tmp_path) == []


def test_a_setting_that_a_service_rejects_stops_the_node(tmp_path: Path) -> None:
    data = fresh(tmp_path)
    arguments = command(data, "--for", "30", "--set", "recorder.recipients=age1nobody")
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 78, done.stderr
    assert "imhearing: [recorder] recipients: key 1, 'age1nobody', is not an age public key" in done.stderr
    assert "Traceback" not in done.stderr
    assert processes_on(tmp_path) == []


def test_a_broker_that_expects_tls_is_named_on_the_screen(tmp_path: Path) -> None:
    make_plain_ca(tmp_path)
    make_certificate(tmp_path, "localhost", "DNS:localhost")
    with tls_broker(tmp_path) as port:
        broker = ("mqtt.host=localhost", f"mqtt.port={port}")
        with running_node(fresh(tmp_path), *FAST, *broker) as node:
            wait_until(lambda: "recorder: the MQTT broker at localhost" in output_of(node.data), "it says so")
            assert f"! recorder: the MQTT broker at localhost:{port} expects TLS: set [mqtt] tls = on" in output_of(
                node.data
            )


def test_a_signal_during_startup_stops_the_node(tmp_path: Path) -> None:
    with subprocess.Popen(command(fresh(tmp_path)), stderr=subprocess.PIPE, text=True) as up:
        assert up.stderr is not None
        for line in up.stderr:
            if line.startswith("starting"):
                break
        up.send_signal(signal.SIGTERM)
        up.communicate(timeout=DEADLINE)
    assert up.returncode == 0
    assert processes_on(tmp_path) == []


@pytest.mark.parametrize(("rows", "columns"), [(24, 80), (40, 132), (30, 60)])
def test_the_screen_fills_a_terminal_of_any_size(tmp_path: Path, rows: int, columns: int) -> None:
    up = Terminal(command(fresh(tmp_path)), rows, columns, apart=True)
    try:
        up.read_until("Im Hearing", "recording from synthetic", "NOT A MICROPHONE", "dBFS", "in a second terminal")
        up.process.send_signal(signal.SIGINT)
        seen = up.read_until()
        assert up.process.wait(DEADLINE) == 0
    finally:
        up.close()
    assert "\x1b[?1049h" in seen  # a screen of its own,
    assert "\x1b[?1049l" in seen  # which gives back what was there
    frames = [plain(frame).split("\n") for frame in seen.split("\x1b[H") if "in a second terminal" in frame]
    drawn = [[line.rstrip() for line in frame] for frame in frames]  # what is not drawn is filled with spaces
    assert {max(map(len, lines)) for lines in drawn} == {columns}
    assert any(len(lines) == rows and lines[-1] for lines in drawn)  # the last frame may be cut by the end


def test_a_dumb_terminal_gets_plain_lines(tmp_path: Path) -> None:
    up = Terminal(command(fresh(tmp_path)), 24, 80, TERM="dumb")
    try:
        up.read_until("recording from synthetic", " chunk finished")
        up.process.send_signal(signal.SIGINT)
        assert "\x1b" not in up.read_until()
        assert up.process.wait(DEADLINE) == 0
    finally:
        up.close()


def test_with_the_broker_away_the_screen_shows_what_spool_and_catalog_have(tmp_path: Path) -> None:
    away = ("mqtt.host=127.0.0.1", f"mqtt.port={ports.choose(None)}")
    up = Terminal(command(fresh(tmp_path), *(part for setting in away for part in ("--set", setting))), 30, 100)
    try:
        up.read_until(r"broker    127\.0\.0\.1:\d+ does not respond", "recording from synthetic", "NOT A MICROPHONE")
        up.read_until(r"chunks    [3-9] finished, last until \d\d:")
        up.process.send_signal(signal.SIGINT)
        ended = re.search(
            r"stopped; (\d+) chunks? waiting here \(.+\), (\d+) in (\d+) uploaded archives?", up.read_until()
        )
        assert ended
        assert int(ended[1]) + int(ended[2]) >= 3
        assert up.process.wait(DEADLINE) == 0
    finally:
        up.close()


def test_no_other_user_can_read_what_the_node_writes_in_a_folder_open_to_all(tmp_path: Path) -> None:
    data = fresh(tmp_path)
    data.chmod(0o755)
    up = command(data, "--for", "8")
    done = subprocess.run(up, capture_output=True, text=True, timeout=DEADLINE, check=False, umask=0)
    assert done.returncode == 0, done.stderr
    hold = [sys.executable, "-m", "imhearing", "hold", "--data", str(data), "--last", "1m"]
    assert subprocess.run(hold, capture_output=True, timeout=DEADLINE, check=False, umask=0).returncode == 0
    written = sorted(data.rglob("*"))
    assert {"catalog.db", "catalog.db.lock", "holds.json", "recorder.log"} <= {path.name for path in written}
    assert [path for path in written if path.lstat().st_mode & 0o007 and not path.is_symlink()] == []
