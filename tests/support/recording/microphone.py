"""A virtual microphone: PulseAudio's null sink, which PortAudio reaches through ALSA's pulse plug-in."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from tests.support.wait import DEADLINE, wait_until


class VirtualMicrophone:
    """Plays into the null sink `room`; programs run with `environment` record it bit for bit, at 16 bit, 48 kHz."""

    def __init__(self, folder: Path) -> None:
        self.environment = {
            "XDG_RUNTIME_DIR": str(folder),
            "PULSE_SERVER": f"unix:{folder}/pulse/native",
            "PULSE_SOURCE": "room.monitor",
            "PULSE_COOKIE": str(folder / "cookie"),
            "HOME": str(folder),
        }
        self._folder = folder

    def run(self, *command: str) -> str:
        """Runs one of PulseAudio's tools on this server; returns its output."""
        done = subprocess.run(command, env=os.environ | self.environment, check=True, capture_output=True, text=True)
        return done.stdout

    def play(self, sound: Path, holds: int | None = None) -> subprocess.Popen[bytes]:
        """Starts playing a file into the room. `holds`: ms that wait in the player's buffer, else PulseAudio's 2 s."""
        latency = [] if holds is None else [f"--latency-msec={holds}"]
        return subprocess.Popen(["paplay", "--device=room", *latency, str(sound)], env=os.environ | self.environment)

    def unplug(self) -> None:
        self.run("pactl", "unload-module", "module-null-sink")

    def plug_in(self) -> None:
        self.run("pactl", "load-module", "module-null-sink", "sink_name=room", "rate=48000")


@contextlib.contextmanager
def virtual_microphone() -> Iterator[VirtualMicrophone]:
    """A PulseAudio server of our own, ended by its process id."""
    with tempfile.TemporaryDirectory(prefix="imhearing-pulse-") as name:
        microphone = VirtualMicrophone(Path(name))
        server = subprocess.Popen(
            [
                "pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no",
                "--disallow-exit", "--log-level=error",
                "-L", "module-native-protocol-unix",
                "-L", "module-null-sink sink_name=room rate=48000",
            ],
            env=os.environ | microphone.environment,
        )  # fmt: skip
        try:
            wait_until((Path(name) / "pulse" / "native").exists, "PulseAudio listens")
            yield microphone
        finally:
            server.terminate()
            server.wait(DEADLINE)


def write_noise(path: Path, seconds: float, seed: int, rate: int = 48_000) -> np.ndarray:
    """Writes seeded 16-bit noise to a WAV file; returns its samples, shape (frames,)."""
    samples = np.random.default_rng(seed).integers(-12_000, 12_000, round(seconds * rate), dtype=np.int16)
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return samples


def find_samples(recorded: np.ndarray, played: np.ndarray) -> int:
    """Where in `recorded` the first samples of `played` start, bit for bit; -1 if nowhere. Both shape (frames,)."""
    needle = played[:64].tobytes()
    position = recorded.tobytes().find(needle)
    return position // recorded.itemsize if position >= 0 and position % recorded.itemsize == 0 else -1
