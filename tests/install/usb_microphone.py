"""A USB microphone that hears a WAV file, over and over. It is plugged into this machine until this process ends.

    usb_microphone.py FILE.wav       as root; the kernel needs vhci-hcd and snd-usb-audio

This is the far end of USB/IP (linux/Documentation/usb/usbip_protocol.rst), over a socket pair instead of a network.
So the host's side is real: USB core, snd-usb-audio, ALSA, udev. The device is of USB Audio Class 1.0: mono, 16 bits, at
the file's rate, in isochronous packets of 1 ms. It keeps real time, but drops no samples if the host is late, so that a
busy machine fails no test. Standard library only.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ATTACH = Path("/sys/devices/platform/vhci_hcd.0/attach")
PORT, DEVICE_ID, FULL_SPEED = 0, 1, 2
SUBMIT, UNLINK, SUBMITTED, UNLINKED = 1, 2, 3, 4
HEADER, PACKET = struct.Struct(">5I IiiIi8s"), struct.Struct(">4I")
FRAME = 0.001  # seconds: full speed has one isochronous packet in each
STRINGS = ["", "Im Hearing", "Test Microphone", "0001"]


class Transfer(NamedTuple):
    """An isochronous transfer that the host waits for."""

    number: int
    packets: list[tuple[int, int]]  # offset in the host's buffer, length


def descriptors(rate: int) -> tuple[bytes, bytes]:
    """The device's, and those of its one configuration (USB 2.0, 9.6; USB Audio 1.0, 4; formats 1.0, 2.2)."""
    device = struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x0110, 0, 0, 0, 64, 0x1D6B, 0x0101, 0x0100, 1, 2, 3, 1)
    parts = [
        struct.pack("<9B", 9, 4, 0, 0, 0, 1, 1, 0, 0),  # interface 0: audio control
        struct.pack("<BBBHHBB", 9, 0x24, 1, 0x0100, 30, 1, 1),
        struct.pack("<BBBBHBBHBB", 12, 0x24, 2, 1, 0x0201, 0, 1, 0, 0, 0),  # input terminal 1: a microphone, mono
        struct.pack("<BBBBHBBB", 9, 0x24, 3, 2, 0x0101, 0, 1, 0),  # output terminal 2: USB, from terminal 1
        struct.pack("<9B", 9, 4, 1, 0, 0, 1, 2, 0, 0),  # interface 1: audio streaming, while off
        struct.pack("<9B", 9, 4, 1, 1, 1, 1, 2, 0, 0),  # and while on
        struct.pack("<BBBBBH", 7, 0x24, 1, 2, 1, 1),  # PCM of terminal 2
        struct.pack("<8B", 11, 0x24, 2, 1, 1, 2, 16, 1) + rate.to_bytes(3, "little"),
        struct.pack("<BBBBHBBB", 9, 5, 0x81, 0x05, packet_length(rate), 1, 0, 0),  # isochronous, asynchronous, in
        struct.pack("<BBBBBH", 7, 0x25, 1, 0, 0, 0),
    ]
    body = b"".join(parts)
    return device, struct.pack("<BBHBBBBB", 9, 2, 9 + len(body), 2, 1, 0, 0x80, 50) + body


def packet_length(rate: int) -> int:
    return 2 * round(rate * FRAME)


class Device:
    """Answers the host's transfers."""

    def __init__(self, host: socket.socket, sound: Iterator[bytes], rate: int) -> None:
        self._host, self._sound = host, sound
        self._device, self._configuration = descriptors(rate)
        self._waiting: list[Transfer] = []
        self._due = 0.0  # when the first of them is complete

    def serve(self) -> None:
        """Until the host resets or disconnects the port."""
        while True:
            left = self._due - time.monotonic() if self._waiting else None
            if left is not None and left <= 0:
                self._complete(self._waiting.pop(0))
            elif select.select([self._host], [], [], left)[0] and not self._receive():
                return

    def _receive(self) -> bool:
        head = self._host.recv(HEADER.size, socket.MSG_WAITALL)
        if len(head) < HEADER.size:
            return False
        command, number, _, inward, endpoint, cancelled, length, _, packets, _, setup = HEADER.unpack(
            head
        )  # `cancelled`: else flags
        if command == UNLINK:
            self._cancel(number, cancelled)
            return True
        if endpoint:
            wanted = self._host.recv(PACKET.size * packets, socket.MSG_WAITALL)
            self._start(Transfer(number, [(offset, size) for offset, size, _, _ in PACKET.iter_unpack(wanted)]))
            return True
        if not inward and length:
            self._host.recv(length, socket.MSG_WAITALL)  # there is nothing to set
        answer = self._control(setup)
        if answer is None:
            self._send(SUBMITTED, number, -errno.EPIPE, packets)
        else:
            self._send(SUBMITTED, number, 0, packets, answer[:length] if inward else b"")
        return True

    def _control(self, setup: bytes) -> bytes | None:
        """The answer to a control transfer; None is a stall."""
        kind, request, value, index, _ = struct.unpack("<BBHHH", setup)
        match (kind, request):
            case (0x80, 6):  # GET_DESCRIPTOR
                return self._descriptor(value >> 8, value & 0xFF)
            case (0x80 | 0x81 | 0x82, 0):  # GET_STATUS
                return bytes(2)
            case (0x80, 8):  # GET_CONFIGURATION
                return bytes([1])
            case (0x00, 9) | (0x01, 11):  # SET_CONFIGURATION, SET_INTERFACE
                if (request, index, value) == (11, 1, 1):
                    self._due = time.monotonic()  # the stream begins
                return b""
        return None

    def _descriptor(self, kind: int, which: int) -> bytes | None:
        if kind == 3 and which < len(STRINGS):
            text = STRINGS[which].encode("utf-16-le") if which else struct.pack("<H", 0x0409)
            return bytes([2 + len(text), 3]) + text
        return {1: self._device, 2: self._configuration}.get(kind)

    def _start(self, transfer: Transfer) -> None:
        if not self._waiting:
            self._due += FRAME * len(transfer.packets)
        self._waiting.append(transfer)

    def _complete(self, transfer: Transfer) -> None:
        parts = [next(self._sound)[:size] for _, size in transfer.packets]
        places = b"".join(
            PACKET.pack(offset, size, len(part), 0)
            for (offset, size), part in zip(transfer.packets, parts, strict=True)
        )
        self._send(SUBMITTED, transfer.number, 0, len(parts), b"".join(parts), places)
        if self._waiting:
            self._due += FRAME * len(self._waiting[0].packets)

    def _cancel(self, number: int, transfer: int) -> None:
        kept = [each for each in self._waiting if each.number != transfer]
        status = -errno.ECONNRESET if len(kept) < len(self._waiting) else 0
        self._waiting = kept
        self._send(UNLINKED, number, status)

    def _send(
        self, answer: int, number: int, status: int, packets: int = 0, content: bytes = b"", places: bytes = b""
    ) -> None:
        head = struct.pack(">5I iiiIi8x", answer, number, 0, 0, 0, status, len(content), 0, packets, 0)
        self._host.sendall(head + content + places)


def endless(path: str) -> tuple[int, Iterator[bytes]]:
    """The file's rate, and its samples, packet by packet, over and over."""
    with wave.open(path) as file:
        rate, samples = file.getframerate(), file.readframes(file.getnframes())
        if (file.getnchannels(), file.getsampwidth()) != (1, 2) or len(samples) % packet_length(rate):
            raise SystemExit(f"{path}: must be mono, with 16 bits, of whole milliseconds")

    def packets() -> Iterator[bytes]:
        while True:
            for start in range(0, len(samples), packet_length(rate)):
                yield samples[start : start + packet_length(rate)]

    return rate, packets()


def main() -> None:
    rate, sound = endless(sys.argv[1])
    ours, hosts = socket.socketpair()
    ATTACH.write_text(f"{PORT} {hosts.fileno()} {DEVICE_ID} {FULL_SPEED}")
    hosts.close()
    Device(ours, sound, rate).serve()


if __name__ == "__main__":
    main()
