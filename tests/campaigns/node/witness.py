"""A second recorder on the same microphone: PulseAudio's own `parec`, with high priority where we may give it."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path

from tests.support.recording.microphone import VirtualMicrophone
from tests.support.wait import DEADLINE, wait_until

RATE = 48_000
_PRIORITY = -12
_PIECE_SECONDS = 0.02


class Witness:
    """Writes `witness.raw` (16 bit, interleaved) and `witness.json`: how many frames had arrived by which UTC."""

    def __init__(self, room: VirtualMicrophone, folder: Path, channels: int) -> None:
        self._folder, self._channels = folder, channels
        self._marks: list[tuple[int, float]] = []
        command = ["parec", "--device=room.monitor", "--format=s16le", f"--rate={RATE}", f"--channels={channels}"]
        self._process = subprocess.Popen(
            [*command, "--raw", "--latency-msec=20"], env=os.environ | room.environment, stdout=subprocess.PIPE
        )
        favour(self._process.pid)
        self._thread = threading.Thread(target=self._listen, name="witness", daemon=True)
        self._thread.start()
        wait_until(lambda: self._marks, "the witness hears")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE)
        self._thread.join()
        (self._folder / "witness.json").write_text(json.dumps({"channels": self._channels, "marks": self._marks}))

    def _listen(self) -> None:
        assert self._process.stdout is not None
        frame, frames = 2 * self._channels, 0
        left = b""
        with (self._folder / "witness.raw").open("wb") as file:
            while data := os.read(self._process.stdout.fileno(), round(RATE * _PIECE_SECONDS) * frame):
                now = time.time()
                whole = left + data
                count = len(whole) // frame
                file.write(whole[: count * frame])
                left = whole[count * frame :]
                frames += count
                self._marks.append((frames, now))


def favour(pid: int) -> None:
    """The witness and the sound server come before everything else, as far as we may."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, _PRIORITY)
    except PermissionError:
        return
