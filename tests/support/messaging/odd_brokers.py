"""Brokers that exist in the wild: with certificates made by plain `openssl` commands, and of before MQTT 5."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.embedded import ports
from edge.embedded.child import Child, ProcessSpec
from edge.embedded.servers import find_mosquitto
from tests.support.wait import wait_until

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make_plain_ca(folder: Path) -> Path:
    """As most instructions on the web do: without keyUsage."""
    openssl("req", "-x509", *_NEW_KEY, "-keyout", folder / "ca.key", "-out", folder / "ca.crt", "-subj", "/CN=Home CA")
    return folder / "ca.crt"


def make_certificate(folder: Path, common_name: str, names: str = "", days: int = 1) -> None:
    """`server.crt`, signed by the CA in `folder`. `names`: its subjectAltName, such as `IP:127.0.0.1`; empty: none."""
    request, extensions = folder / "server.csr", folder / "extensions"
    openssl("req", *_NEW_KEY, "-keyout", folder / "server.key", "-out", request, "-subj", f"/CN={common_name}")
    extensions.write_text(f"subjectAltName = {names}\n" if names else "")
    openssl(
        "x509", "-req", "-in", request, "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-CAcreateserial",
        "-days", days, "-extfile", extensions, "-out", folder / "server.crt",
    )  # fmt: skip


@contextlib.contextmanager
def tls_broker(folder: Path, *more: str) -> Iterator[int]:
    """Mosquitto with the certificate in `folder`; yields its TLS port."""
    port = ports.choose(None)
    lines = [
        f"listener {port} 127.0.0.1", "allow_anonymous true", f"certfile {folder}/server.crt",
        f"keyfile {folder}/server.key", "log_dest stderr", "user root" if os.geteuid() == 0 else "", *more,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="imhearing-tls-") as scratch:
        configuration = Path(scratch) / "mosquitto.conf"
        configuration.write_text("\n".join(lines) + "\n")
        command = (find_mosquitto(), "-c", str(configuration))
        child = Child(ProcessSpec("broker", command, Path(scratch) / "broker.log", port=port))
        try:
            wait_until(lambda: ports.answers(port) or child.exit_code() is not None, "the broker answers")
            assert child.exit_code() is None, child.last_lines()
            yield port
        finally:
            child.terminate()
            child.end(5)


def refuses_mqtt_5(connect: bytes) -> bytes:
    """MQTT 3.1.1, 3.2.2.3: 1 is an unacceptable protocol version."""
    return b"\x20\x02\x00\x01" if connect[8] == 5 else b"\x20\x02\x00\x00"


def drops_mqtt_5(connect: bytes) -> bytes:
    """Closes the connection without an answer."""
    return b"" if connect[8] == 5 else b"\x20\x02\x00\x00"


@contextlib.contextmanager
def answering_server(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """Answers the first packet of each connection and closes it; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stopping = threading.Event()

        def serve() -> None:
            while True:
                connection, _ = server.accept()
                with connection:
                    if stopping.is_set():
                        return
                    packet = connection.recv(1_000)
                    if packet:
                        connection.sendall(answer(packet))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            stopping.set()
            socket.create_connection(server.getsockname()).close()
            thread.join()


class HesitantBroker:
    """Accepts connections, and confirms their subscriptions only after `confirm`."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._confirms = False
        self._waiting: list[tuple[socket.socket, bytes]] = []
        self.port: int = server.getsockname()[1]

    def has_subscriber(self) -> bool:
        with self._lock:
            return bool(self._waiting)

    def confirm(self) -> None:
        with self._lock:
            self._confirms = True
            for connection, packet_id in self._waiting:
                _confirm(connection, packet_id)

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as packets, contextlib.suppress(OSError):
            while head := packets.read(1):
                length = shift = 0
                while (byte := packets.read(1)[0]) & 0x80:
                    length |= (byte & 0x7F) << shift
                    shift += 7
                body = packets.read(length | byte << shift)
                match head[0] & 0xF0:
                    case 0x10:
                        connection.sendall(b"\x20\x03\x00\x00\x00")
                    case 0x30 if head[0] & 0x06:
                        topic = int.from_bytes(body[:2])
                        connection.sendall(b"\x40\x02" + body[2 + topic : 4 + topic])
                    case 0x80:
                        with self._lock:
                            self._waiting.append((connection, body[:2]))
                            if self._confirms:
                                _confirm(connection, body[:2])


def _confirm(connection: socket.socket, packet_id: bytes) -> None:
    """SUBACK: one filter, granted QoS 1."""
    connection.sendall(b"\x90\x04" + packet_id + b"\x00\x01")


@contextlib.contextmanager
def hesitant_broker() -> Iterator[HesitantBroker]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        broker = HesitantBroker(server)
        threading.Thread(target=broker.serve, daemon=True).start()
        yield broker
        server.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def slow_link(port: int, seconds: float) -> Iterator[int]:
    """Yields a port that leads to `port`, from which everything comes back only after `seconds`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    near, _ = server.accept()
                    far = socket.create_connection(("127.0.0.1", port))
                    threading.Thread(target=_pass_on, args=(near, far, 0.0), daemon=True).start()
                    threading.Thread(target=_pass_on, args=(far, near, seconds), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def _pass_on(source: socket.socket, target: socket.socket, seconds: float) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            time.sleep(seconds)
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
