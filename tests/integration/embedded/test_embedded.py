"""Child processes that die with their parent, and the real Mosquitto and rclone that `imhearing up` starts."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.up.log_watch import LogWatch
from edge.configuration.settings import S3, Secret
from edge.core.errors import ImHearingError, StoreError
from edge.embedded import ports
from edge.embedded.child import Child, ProcessSpec, read_tail, trim_log
from edge.embedded.servers import BUCKET, broker_process, find_mosquitto, store_process
from edge.embedded.supervisor import Supervisor, describe_exit, restart_backoff
from edge.store.s3 import S3Store
from tests.support.messaging.broker import open_broker, running_broker
from tests.support.privileges import without_root_privileges
from tests.support.store.s3 import running_store
from tests.support.wait import DEADLINE, wait_until

ROOT = Path(__file__).parents[3]


def python(tmp_path: Path, code: str, name: str = "child", port: int | None = None) -> ProcessSpec:
    return ProcessSpec(name, (sys.executable, "-u", "-c", textwrap.dedent(code)), tmp_path / f"{name}.log", port=port)


def has_exited(pid: int) -> bool:
    """Whether the process has exited; a zombie counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may go between opening the file and reading it
        return True


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    made = Supervisor()
    yield made
    made.stop_all(2)


# children


def test_children_die_with_their_parent_even_by_kill_9(tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [
            sys.executable, "-c",
            "import sys, time; from pathlib import Path; from edge.embedded.child import Child, ProcessSpec\n"
            "sleep = (sys.executable, '-c', 'import time; time.sleep(600)')\n"
            "child = Child(ProcessSpec('c', sleep, Path(sys.argv[1])))\n"
            "print(child.pid, flush=True); time.sleep(600)",
            str(tmp_path / "c.log"),
        ],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert starter.stdout is not None
    child = int(starter.stdout.readline())
    wait_until(lambda: b"die_with_parent" not in Path(f"/proc/{child}/cmdline").read_bytes(), "the child runs")
    starter.kill()
    starter.wait()
    wait_until(lambda: has_exited(child), "the child is gone")


def test_mosquitto_dies_with_its_parent(tmp_path: Path) -> None:
    # as root it would change its user, which clears the parent death signal
    starter = subprocess.Popen(
        [
            sys.executable, "-c",
            "import time\nfrom tests.support.messaging.broker import running_broker\n"
            "with running_broker() as (host, port): print(port, flush=True); time.sleep(600)",
        ],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert starter.stdout is not None
    port = int(starter.stdout.readline())
    assert ports.answers(port)
    starter.kill()
    starter.wait()
    wait_until(lambda: not ports.answers(port), "the broker is gone")


def test_stopping_a_child_kills_its_own_children(tmp_path: Path) -> None:
    child = Child(python(tmp_path, "import subprocess; p = subprocess.Popen(['sleep', '600']); print(p.pid); p.wait()"))
    grandchild = int(wait_until(child.last_lines, "it has started its own")[0])
    child.terminate()
    assert child.end(DEADLINE)
    wait_until(lambda: has_exited(grandchild), "the grandchild is gone")


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    child = Child(
        python(tmp_path, "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(600)")
    )
    wait_until(lambda: child.last_lines() == ["deaf"], "it is deaf")
    child.terminate()
    assert not child.end(0.2)
    assert child.exit_code() == -signal.SIGKILL


def test_a_missing_program_is_reported_in_the_log(tmp_path: Path) -> None:
    child = Child(ProcessSpec("ghost", ("/nowhere/ghost",), tmp_path / "ghost.log"))
    wait_until(lambda: child.exit_code() is not None, "it has ended")
    assert child.last_lines() == ["/nowhere/ghost: cannot be run (No such file or directory)"]


def test_logs_are_private_and_rotated_at_the_next_start(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    part = ProcessSpec("x", (sys.executable, "-c", "print('hello')"), log)
    child = Child(part)
    wait_until(lambda: child.exit_code() is not None, "it has ended")
    assert log.stat().st_mode & 0o777 == 0o600
    with log.open("a") as writer:
        writer.write("y" * 1_000_000 + "\n")
    again = Child(part)
    wait_until(lambda: again.exit_code() is not None, "it has ended")
    assert log.read_text() == "hello\n"
    assert log.with_name("x.log.1").stat().st_size > 1_000_000


def test_a_log_is_rotated_while_its_writer_keeps_writing(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"a" * 100 + b"\n")
        trim_log(log, 50)
        writer.write(b"b\n")
    assert log.read_bytes() == b"b\n"
    assert read_tail(log) == ["b"]
    assert read_tail(tmp_path / "none.log") == []


# the supervisor


def test_a_killed_child_is_reported_and_restarted(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor.start(python(tmp_path, "import time; print('here'); time.sleep(600)"))
    first = supervisor.pids()["child"]
    wait_until(lambda: read_tail(tmp_path / "child.log"), "it runs")
    os.kill(first, signal.SIGKILL)
    (ending,) = wait_until(supervisor.tick, "its end is seen")
    assert (ending.name, ending.exit_code, ending.last_lines, ending.restart_in) == ("child", -9, ["here"], 0.5)

    def another() -> bool:
        supervisor.tick()
        return supervisor.pids().get("child", first) != first

    wait_until(another, "it runs again")


def test_a_child_that_exits_normally_is_restarted_too(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor.start(python(tmp_path, "print('done')"))
    (ending,) = wait_until(supervisor.tick, "its end is seen")
    assert (ending.exit_code, ending.restart_in) == (0, 0.5)


def _start_and_wait(supervisor: Supervisor, part: ProcessSpec, timeout: float = DEADLINE) -> None:
    supervisor.start(part)
    supervisor.wait_ready(timeout)


def test_what_a_child_leaves_is_cleaned_up_before_it_is_started_again(tmp_path: Path, supervisor: Supervisor) -> None:
    left = tmp_path / "left"
    code = f"from pathlib import Path; p = Path({str(left)!r}); print(p.exists()); p.touch(); p.with_name('up').touch()"
    code += "; import time; time.sleep(60)"
    spec = python(tmp_path, code)._replace(clean_up=left.unlink)
    supervisor.start(spec)
    for _ in range(2):
        wait_until((tmp_path / "up").exists, "it runs")
        (tmp_path / "up").unlink()
        os.kill(supervisor.pids()["child"], signal.SIGKILL)
        wait_until(supervisor.tick, "its death is noticed")
        assert not left.exists()
        wait_until(lambda: supervisor.tick() or supervisor.pids(), "it is started again")
    assert "True" not in spec.log.read_text()


def test_a_server_that_fails_to_start_is_reported_with_its_output(tmp_path: Path, supervisor: Supervisor) -> None:
    with pytest.raises(ImHearingError, match=r"child: exited with code 1 \(no luck\); see .*child\.log"):
        _start_and_wait(supervisor, python(tmp_path, "import sys; sys.exit('no luck')", port=ports.choose(None)))


def test_another_server_on_the_port_is_not_mistaken_for_ours(tmp_path: Path, supervisor: Supervisor) -> None:
    with running_broker() as taken, pytest.raises(ImHearingError, match="Address already in use"):
        _start_and_wait(supervisor, open_broker(taken.port, tmp_path / "broker"))


def test_waiting_for_a_server_that_never_listens_times_out(tmp_path: Path, supervisor: Supervisor) -> None:
    with pytest.raises(ImHearingError, match="failed to start"):
        _start_and_wait(supervisor, python(tmp_path, "import time; time.sleep(600)", port=ports.choose(None)), 0.3)


def test_all_children_stop_within_the_timeout(tmp_path: Path) -> None:
    supervisor = Supervisor()
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(600)"
    supervisor.start(python(tmp_path, deaf, "deaf"))
    supervisor.start(python(tmp_path, "import time; print('well'); time.sleep(600)", "well"))
    wait_until(lambda: all(read_tail(tmp_path / f"{name}.log") for name in ("deaf", "well")), "both run")
    pids = supervisor.pids()
    assert supervisor.stop_all(0.5) == ["deaf"]
    assert all(has_exited(pid) for pid in pids.values())
    assert supervisor.pids() == {}


def test_the_restart_delay_doubles_and_resets_after_a_stable_run() -> None:
    backoff = restart_backoff()
    assert [backoff.next_delay(1) for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert backoff.next_delay(61) == 0.5
    assert backoff.next_delay(1) == 1


def test_exit_codes_are_described() -> None:
    assert describe_exit(3) == "exited with code 3"
    assert describe_exit(-9) == "was ended by signal 9"


# ports


def test_a_port_in_use_is_not_chosen() -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        assert not ports.is_free(port)
        assert ports.answers(port)
        assert ports.choose(port) != port
    assert ports.choose(port, timeout=1) == port
    assert ports.choose(port, frozenset({port})) != port


# the real servers


def test_the_broker_is_ready_once_it_listens_on_its_socket_and_persists_retained_messages(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir(mode=0o700)
    with tempfile.TemporaryDirectory() as short:
        path = Path(short) / "mqtt.sock"
        path.touch()  # as of a broker that was killed
        lines = [f"listener 0 {path}", "allow_anonymous true", "persistence true", f"persistence_location {folder}/"]
        reach = ["--unix", str(path), "-t", "x"]
        for _ in range(2):
            _start_and_wait(supervisor, broker_process(folder, "\n".join(lines) + "\n", path, tmp_path / "broker.log"))
            if not (folder / "mosquitto.db").exists():
                subprocess.run(["mosquitto_pub", *reach, "-m", "kept", "-r"], check=True, timeout=DEADLINE)
            received = subprocess.run(["mosquitto_sub", *reach, "-C", "1", "-W", "3"], capture_output=True, check=False)
            assert received.stdout.decode().strip() == "kept"
            assert supervisor.stop_all(DEADLINE) == []


def test_a_socket_that_another_process_listens_on_is_not_mistaken_for_ours(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listener:
        path = Path(short) / "x.sock"
        assert not ports.listens_at(os.getpid(), path)
        listener.bind(str(path))
        assert not ports.listens_at(os.getpid(), path)  # it is bound, but does not listen
        listener.listen()
        assert ports.listens_at(os.getpid(), path)
        assert not ports.listens_at(os.getppid(), path)


def test_two_brokers_run_side_by_side() -> None:
    with running_broker() as one, running_broker() as other:
        assert one.port != other.port
        assert ports.answers(one.port)
        assert ports.answers(other.port)


def test_a_missing_mosquitto_is_reported_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ImHearingError, match="scripts/setup"):
        find_mosquitto(str(tmp_path))


def test_the_store_accepts_only_its_own_keys(tmp_path: Path) -> None:
    boto3 = pytest.importorskip("boto3")
    from botocore.exceptions import ClientError  # noqa: PLC0415

    port = ports.choose(None)
    spec = store_process(port, tmp_path / "store", "local0123", "secret0123", tmp_path / "store.log")
    assert "secret0123" not in " ".join(spec.command)

    def client(secret: str) -> object:
        return boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{port}", aws_access_key_id="local0123",
            aws_secret_access_key=secret, region_name="us-east-1",
        )  # fmt: skip

    child = Child(spec)
    try:
        wait_until(lambda: ports.answers(port), "the store answers")
        ours = client("secret0123")
        ours.put_object(Bucket=BUCKET, Key="a/b", Body=b"sound")  # type: ignore[attr-defined]
        assert (tmp_path / "store" / BUCKET / "a" / "b").read_bytes() == b"sound"
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            client("another").list_buckets()  # type: ignore[attr-defined]
    finally:
        child.terminate()
        child.end(5)


def test_deleting_objects_from_the_embedded_store_reports_no_problem(tmp_path: Path) -> None:
    with running_store(tmp_path) as store:
        watch = LogWatch({"store": tmp_path / "store.log"})
        storage = S3Store(store.settings)
        for key in ("porch/2026/a", "porch/2026/b", "porch/doctor/c"):
            storage.put(key, b"sound", hashlib.md5(b"sound", usedforsecurity=False).hexdigest())
        storage.delete("porch/doctor/c")
        storage.delete("porch/2026/a")
        assert [path.name for path in store.folder.rglob("*")] == ["porch", "2026", "b"]  # no folder is left empty
        assert "ERROR" in (tmp_path / "store.log").read_text()  # rclone's word for a folder that is not empty
        assert list(watch.problems()) == []


def test_abandoned_uploads_are_removed_at_startup(tmp_path: Path) -> None:
    left = tmp_path / "store" / BUCKET / "deep" / ".rclone_temp_multipart_1234"
    left.mkdir(parents=True)
    (left / "1").write_bytes(b"x")
    kept = left.parent / "archive.zip"
    kept.write_bytes(b"y")
    store_process(1, tmp_path / "store", "k", "s", tmp_path / "store.log").prepare()
    assert not left.exists()
    assert kept.exists()


def test_nobody_can_take_the_port_of_a_store_that_has_died(tmp_path: Path, supervisor: Supervisor) -> None:
    """Whoever listened there would get the next archive, and confirm it."""
    port, key_id, secret = ports.choose(None), "local0123456789", "0123456789abcdef"
    supervisor.start(store_process(port, tmp_path / "store", key_id, secret, tmp_path / "store.log"))
    supervisor.wait_ready()
    os.kill(supervisor.pids()["store"], signal.SIGKILL)
    wait_until(supervisor.tick, "its end is seen")
    with without_root_privileges(), pytest.raises(OSError, match="Address already in use"):
        socket.create_server((ports.LOOPBACK, port)).close()
    url = f"http://{ports.LOOPBACK}:{port}"
    store = S3Store(S3(BUCKET, endpoint_url=url, access_key_id=Secret(key_id), secret_access_key=Secret(secret)))
    uploading = threading.Thread(target=lambda: store.put("a", b"sound", hashlib.md5(b"sound").hexdigest()))  # noqa: S324
    uploading.start()  # waits for the next one
    wait_until(lambda: supervisor.tick() or not uploading.is_alive(), "it is uploaded")
    assert (tmp_path / "store" / BUCKET / "a").read_bytes() == b"sound"
    supervisor.stop_all(DEADLINE)
    assert ports.is_free(port)


class _Interrupted(io.BytesIO):
    """A body of which only the first half arrives before `ended`."""

    def __init__(self, size: int, ended: threading.Event) -> None:
        super().__init__(bytes(size))
        self._half, self._ended = size // 2, ended

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= self._half:
            self._ended.wait()
        return super().read(size)


def test_a_store_killed_during_an_upload_removes_what_arrived_before_it_runs_again(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    port, ended = ports.choose(None), threading.Event()
    key_id, secret = "local0123456789", "0123456789abcdef"
    supervisor.start(store_process(port, tmp_path / "store", key_id, secret, tmp_path / "store.log"))
    supervisor.wait_ready()
    url = f"http://127.0.0.1:{port}"
    s3 = S3(BUCKET, endpoint_url=url, access_key_id=Secret(key_id), secret_access_key=Secret(secret))

    def upload() -> None:
        with contextlib.suppress(StoreError):
            S3Store(s3).put("porch/2026/archive.zip", _Interrupted(4_000_000, ended), "0" * 32)

    thread = threading.Thread(target=upload, daemon=True)
    thread.start()
    try:
        arrived = wait_until(lambda: [*(tmp_path / "store").rglob("*temp_put*")], "a part of it arrives")
        os.kill(supervisor.pids()["store"], signal.SIGKILL)
        wait_until(supervisor.tick, "its end is seen")
        assert arrived[0].exists()
        wait_until(lambda: supervisor.tick() or supervisor.pids().get("store"), "it runs again")
        assert not arrived[0].exists()
    finally:
        ended.set()
        thread.join(DEADLINE)
