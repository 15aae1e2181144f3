"""A USB microphone for a kernel without one: USB Audio Class 1.0, 48 kHz, mono, 16 bit, plugged in over USB/IP.

    usb_microphone.py [SECONDS]     as root, with the module vhci_hcd; plays a tone until it ends, and is then unplugged

The kernel sees a device on its virtual host controller and drives it as any other (snd-usb-audio). Standard library.
Sources: Universal Serial Bus Device Class Definition for Audio Devices 1.0; Documentation/usb/usbip_protocol.rst.
"""

from __future__ import annotations

import array
import math
import socket
import struct
import sys
import time
from pathlib import Path

CONTROLLER = Path("/sys/devices/platform/vhci_hcd.0")
NAME = "Garden Microphone"
RATE, FREQUENCY, AMPLITUDE = 48_000, 997, 0.25
FULL_SPEED = 2  # usb_device_speed: a frame, and so a packet, each millisecond
PER_PACKET = RATE // 1_000
SUBMIT, UNLINK, SUBMITTED, UNLINKED = 1, 2, 3, 4
STREAM = 1  # the endpoint of the sound
STALLED, CANCELLED = -32, -104
TONE = (
    2
    * array.array(
        "h", (round(32_767 * AMPLITUDE * math.sin(2 * math.pi * FREQUENCY * n / RATE)) for n in range(RATE))
    ).tobytes()
)  # seconds of it: each a whole number of periods


def descriptor(kind: int, *fields: int) -> bytes:
    return bytes([2 + len(fields), kind, *fields])


def configuration() -> bytes:
    control = descriptor(0x24, 2, 1, 0x01, 0x02, 0, 1, 0, 0, 0, 0)  # input terminal 1: a microphone, one channel
    control += descriptor(0x24, 3, 2, 0x01, 0x01, 0, 1, 0)  # output terminal 2: to USB, from 1
    total = 9 + len(control)
    body = descriptor(0x04, 0, 0, 0, 1, 1, 0, 0)  # interface 0: audio control
    body += descriptor(0x24, 1, 0x00, 0x01, total & 255, total >> 8, 1, 1) + control
    body += descriptor(0x04, 1, 0, 0, 1, 2, 0, 0)  # interface 1, idle
    body += descriptor(0x04, 1, 1, 1, 1, 2, 0, 0)  # and streaming:
    body += descriptor(0x24, 1, 2, 1, 0x01, 0x00)  # terminal 2, PCM
    body += descriptor(0x24, 2, 1, 1, 2, 16, 1, *RATE.to_bytes(3, "little"))  # one channel of 16 bit, at one rate
    body += descriptor(0x05, 0x80 | STREAM, 0x05, *(2 * PER_PACKET + 4).to_bytes(2, "little"), 1, 0, 0)  # isochronous
    body += descriptor(0x25, 1, 0, 0, 0, 0)
    return descriptor(0x02, *(9 + len(body)).to_bytes(2, "little"), 2, 1, 0, 0x80, 50) + body


def text(value: str) -> bytes:
    return descriptor(0x03, *value.encode("utf-16-le"))


DESCRIPTORS = {
    (1, 0): descriptor(0x01, 0x10, 0x01, 0, 0, 0, 64, 0x6B, 0x1D, 0x04, 0x01, 0, 1, 1, 2, 0, 1),
    (2, 0): configuration(),
    (3, 0): descriptor(0x03, 0x09, 0x04),
    (3, 1): text("Im Hearing"),
    (3, 2): text(NAME),
}


class Microphone:
    """The device's end of the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._played, self._began = 0, 0.0  # frames of the stream, since it began

    def serve(self, ends: float) -> None:
        while time.monotonic() < ends:
            command, number, _, direction, endpoint = struct.unpack(">5I", self._read(20))
            _, length, start, packets, _ = struct.unpack(">5i", self._read(20))
            setup = self._read(8)
            if command == UNLINK:  # answered already: nothing here waits
                self._send(UNLINKED, number, struct.pack(">i24x", 0))
                continue
            if not direction and length > 0:
                self._read(length)
            if endpoint == STREAM:
                self._stream(number, start, [struct.unpack(">4I", self._read(16))[:2] for _ in range(packets)])
                continue
            answer = self._answer(setup)
            data = b"" if answer is None or not direction else answer[:length]
            status = STALLED if answer is None else 0
            self._send(SUBMITTED, number, struct.pack(">5i8x", status, len(data), 0, 0, 0) + data)

    def _answer(self, setup: bytes) -> bytes | None:
        """To a control request; None: refused."""
        kind, request, value, _, _ = struct.unpack("<BBHHH", setup)
        if (kind, request) == (0x80, 6):
            return DESCRIPTORS.get((value >> 8, value & 255))
        if kind == 0x80:
            return b"\0\0"  # status
        if (kind, request) == (0x81, 10):
            return b"\0"  # interface
        if kind in (0x00, 0x01):  # set configuration or interface: a stream begins with the next packet
            self._began = 0.0
            return b""
        return None

    def _stream(self, number: int, start: int, packets: list[tuple[int, ...]]) -> None:
        """As many milliseconds of sound as there are packets, once they have passed."""
        if not self._began:
            self._played, self._began = 0, time.monotonic()
        self._played += PER_PACKET * len(packets)
        time.sleep(max(0.0, self._began + self._played / RATE - time.monotonic()))
        at, size = (self._played - PER_PACKET * len(packets)) % RATE * 2, 2 * PER_PACKET
        data = TONE[at : at + size * len(packets)]
        places = b"".join(struct.pack(">4I", offset, length, size, 0) for offset, length in packets)
        self._send(SUBMITTED, number, struct.pack(">5i8x", 0, len(data), start, len(packets), 0) + data + places)

    def _send(self, command: int, number: int, rest: bytes) -> None:
        self._connection.sendall(struct.pack(">5I", command, number, 0, 0, 0) + rest)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._connection.recv(size - len(data))
            if not piece:
                raise ConnectionError("the kernel closed the connection")
            data += piece
        return data


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else math.inf
    ours, kernels = socket.socketpair()
    (CONTROLLER / "attach").write_text(f"0 {kernels.fileno()} 1 {FULL_SPEED}\n")
    kernels.close()
    Microphone(ours).serve(time.monotonic() + seconds)


if __name__ == "__main__":
    main()
