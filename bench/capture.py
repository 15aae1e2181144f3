"""What capture costs: CPU seconds per second of sound beside `arecord` in the same run, resident memory, bytes written.

`python -m bench.capture [--seconds 60] [--channels 1] [--rate 48000] [--bits 16] [--format flac] [--all-plugins]`.
Sound: speech (espeak-ng) over pink noise, played into PulseAudio's virtual microphone (16 bit, two channels are real).
Listing devices, PortAudio loads every ALSA plug-in that is installed; without `--all-plugins` only what a Pi has.
"""

from __future__ import annotations

import argparse
import compileall
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

from bench.programs import MICROPHONE, require
from edge.configuration.settings import Recorder
from tests.support.recording.microphone import VirtualMicrophone, virtual_microphone
from tests.support.recording.recorder_process import RecorderProcess, running_recorder

_SPEECH_DB, _NOISE_DB, _FULL_SCALE_DB = 60, 45, 94
_TEXT = (
    "The north wind and the sun were disputing which was the stronger, when a traveller came along wrapped in a warm"
    " cloak. They agreed that the one who first succeeded in making the traveller take his cloak off should be"
    " considered stronger than the other."
)
# What PortAudio looks at without the plug-ins that a desktop brings along: a Pi has none of them
_PLAIN_ALSA = "pcm.pulse { type pulse }\nctl.pulse { type pulse }\npcm.!default { type pulse }\n"


class Use(NamedTuple):
    """What a process has used so far."""

    cpu: float  # seconds, user and system
    written: int  # bytes sent to the disk

    @classmethod
    def of(cls, pid: int) -> Use:
        # schedstat counts nanoseconds; the ticks of /proc/PID/stat are too coarse for bursts of less than one
        tasks = [path.read_text().split()[0] for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        io = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        return cls(sum(map(int, tasks)) / 1e9, int(io["write_bytes"]))


def memory(pid: int) -> dict[str, float]:
    """Resident and private megabytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1000 for line in lines}
    return {"resident": sizes["Rss"], "proportional": sizes["Pss"], "private": sizes["Private_Dirty"]}


def speech_over_pink_noise(path: Path, seconds: float, rate: int) -> None:
    """Somebody reads aloud a metre away, in a garden: speech of 60 dB, noise of 45 dB, where full scale is 94 dB, which
    is a sensitive microphone (each 6 dB more of gain costs a bit in sixteen). Half the time nobody speaks."""
    count = round(seconds * rate)
    spectrum = np.fft.rfft(np.random.default_rng(3).standard_normal(count))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 20))
    pink = np.fft.irfft(spectrum, count)
    sound = pink * _level(_NOISE_DB) / pink.std()
    speech = _speech(rate)
    speech *= _level(_SPEECH_DB) / speech.std()
    for start in range(0, count - len(speech), 2 * len(speech)):
        sound[start : start + len(speech)] += speech
    soundfile.write(path, (np.clip(sound, -1, 1) * 32_767).astype(np.int16), rate, subtype="PCM_16")


def _level(decibels: float) -> float:
    """The RMS of a sound of that level, full scale being 1."""
    return float(10 ** ((decibels - _FULL_SCALE_DB) / 20))


def _speech(rate: int) -> npt.NDArray[np.float64]:
    """One paragraph, by espeak-ng."""
    with tempfile.TemporaryDirectory() as folder:
        spoken = Path(folder) / "speech.wav"
        subprocess.run(["espeak-ng", "-w", str(spoken), _TEXT], check=True)
        samples, own_rate = soundfile.read(spoken)
    times = np.arange(0, len(samples) / own_rate, 1 / rate)
    resampled: npt.NDArray[np.float64] = np.interp(times, np.arange(len(samples)) / own_rate, samples)
    return resampled


def main() -> None:
    options = _options()
    require(*MICROPHONE, "espeak-ng", "arecord")
    compileall.compile_dir("edge", quiet=1)  # as on an installed node: compiling leaves half a megabyte behind
    with tempfile.TemporaryDirectory(dir=options.folder) as name, virtual_microphone() as room:
        folder = Path(name)
        speech_over_pink_noise(folder / "sound.wav", min(options.seconds, 60), 48_000)
        settings = [
            "recorder.source=microphone",
            f"recorder.sample_rate={options.rate}", f"recorder.channels={options.channels}",
            f"recorder.bits={options.bits}", f"recorder.format={options.format}",
            f"recorder.block_ms={options.block_ms}", "recorder.record_period=30", "mqtt.port=1",
        ]  # fmt: skip
        environment = dict(room.environment)
        if not options.all_plugins:
            (folder / "asound.conf").write_text(_PLAIN_ALSA)
            environment["ALSA_CONFIG_PATH"] = str(folder / "asound.conf")
        with running_recorder(folder / "data", *settings, environment=environment) as recorder:
            recorder.wait_until_recording()
            _measure(options, folder, room, recorder)


def _measure(options: argparse.Namespace, folder: Path, room: VirtualMicrophone, recorder: RecorderProcess) -> None:
    reference = _arecord(options, folder, room)
    player = subprocess.Popen(
        ["bash", "-c", f"while paplay --device=room {folder}/sound.wav; do :; done"],
        env=os.environ | room.environment, start_new_session=True,
    )  # fmt: skip
    try:
        time.sleep(5)  # the first seconds are other work than the rest
        before = [Use.of(process.pid) for process in (recorder.process, reference)]
        time.sleep(options.seconds)
        after = [Use.of(process.pid) for process in (recorder.process, reference)]
        pcm = options.seconds * options.rate * options.channels * options.bits / 8
        print(
            f"{options.seconds:g} s, {options.rate} Hz, {options.channels} channels,"
            f" {options.bits} bits, {options.format}, blocks of {options.block_ms} ms; load {os.getloadavg()[0]:.1f}"
        )
        for name, first, last in zip(("recorder", "arecord"), before, after, strict=True):
            cpu, written = (last.cpu - first.cpu) / options.seconds, last.written - first.written
            print(f"  {name:9} {cpu:.4f} CPU s per s of sound; {written / pcm:.3f} bytes to disk per PCM byte")
        sizes = memory(recorder.process.pid)
        print("  recorder  " + ", ".join(f"{size:.1f} MB {name}" for name, size in sizes.items()))
    finally:
        os.killpg(player.pid, 15)
        player.wait()
        reference.terminate()
        reference.wait()


def _arecord(options: argparse.Namespace, folder: Path, room: VirtualMicrophone) -> subprocess.Popen[bytes]:
    form = "S16_LE" if options.bits == 16 else "S32_LE"
    return subprocess.Popen(
        [
            "arecord", "-q", "-D", "pulse", "-f", form, "-r", str(options.rate), "-c", str(options.channels),
            str(folder / "reference.wav"),
        ],
        env=os.environ | room.environment,
    )  # fmt: skip


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=48_000)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--bits", type=int, default=16)
    parser.add_argument("--format", default="flac")
    parser.add_argument("--block-ms", type=int, default=Recorder().block_ms)
    parser.add_argument("--all-plugins", action="store_true")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; a tmpfs counts no bytes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
