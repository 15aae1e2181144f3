"""A spool as a recorder left it in March 2026, written as plain files: later versions must be able to read these.

Stream A (4 s), two seconds without a device, one of pause, then stream B. The audio is WAV: the same bytes whatever
libraries are installed.
"""

from __future__ import annotations

import hashlib
import io
import json
import wave
import zlib
from pathlib import Path
from typing import Any

DAY = "2026-03-03"
A, B = "20260303T220000Z-aaaa", "20260303T220007Z-bbbb"
_RATE = 8_000
_BOOT = "6e1c2a9e-3c6f-4a54-9a52-0d6c3f1f8f11"
_BEGINNING = {A: 0, B: 7}  # seconds after 22:00
_HOLES = [
    {"cause": "device_lost", "from": f"{DAY}T22:00:04.000000Z", "to": f"{DAY}T22:00:06.000000Z"},
    {"cause": "paused", "from": f"{DAY}T22:00:06.000000Z", "to": f"{DAY}T22:00:07.000000Z"},
]


def at(seconds: float) -> str:
    """The instant so many seconds after 22:00:00, as files and answers have it."""
    return f"{DAY}T22:00:{seconds:09.6f}Z"


def write_spool(folder: Path) -> None:
    """The streams, and the state of a recorder that was stopped and is to pause; no chunk yet."""
    folder.mkdir(parents=True)
    for ordinal, stream in enumerate((A, B), 1):
        _write(folder / f"{stream}.stream.json", _stream(stream, ordinal))
    stopped = {"cause": "restart", "from": at(11)}
    state = {"state": "stopped", "since": at(11), "boot_id": _BOOT, "ordinal": 2, "open_hole": stopped}
    _write(folder / "state.json", state)
    _write(folder / "pause.json", {"until": None})


def write_chunk(folder: Path, stream: str, seq: int) -> dict[str, Any]:
    """One second of `stream`, the audio last, as the recorder does; gives the manifest."""
    audio = _audio(stream, seq)
    name = f"{stream}-{seq:06d}"
    manifest = _manifest(stream, seq, audio)
    _write(folder / f"{name}.json", manifest)
    (folder / f"{name}.wav").write_bytes(audio)
    return manifest


def _stream(stream: str, ordinal: int) -> dict[str, Any]:
    begins = _BEGINNING[stream]
    return {
        "stream_id": stream, "node": "porch", "ordinal": ordinal, "boot_id": _BOOT, "device": "made up",
        "rate": _RATE, "channels": 1, "bits": 16, "format": "wav", "chunk_frames": _RATE, "uncertain": False,
        "utc_offset": 0, "knots": [[0, at(begins)], [4 * _RATE, at(begins + 4)]], "shift": 0,
        "before": _HOLES if stream == B else [], "earlier": 0, "calibration_db": None,
    }  # fmt: skip


def _manifest(stream: str, seq: int, audio: bytes) -> dict[str, Any]:
    begins = _BEGINNING[stream] + seq
    level = -70.0 - 2 * seq - (1 if stream == B else 0)
    return {
        "chunk_id": f"{stream}-{seq:06d}", "node": "porch", "stream_id": stream, "seq": seq,
        "first_frame": seq * _RATE, "frames": _RATE, "rate": _RATE, "channels": 1, "format": "wav",
        "bytes": len(audio), "sha256": hashlib.sha256(audio).hexdigest(), "crc32": zlib.crc32(audio),
        "started_at": at(begins), "ended_at": at(begins + 1), "uncertain": False,
        "clock": {"boot_id": _BOOT, "measured_rate": 8000.25},
        "levels": {
            "unit": "dBFS", "calibrated": False, "laeq": level, "lafmax": level + 8.5, "lcpeak": level + 20.25,
            "l10": level + 3.0, "l50": level - 1.0, "l90": level - 4.5, "per_second": [level],
        },
        "sounds": _sounds(stream, seq, level), "before": _HOLES if (stream, seq) == (B, 0) else [],
        "encryption": None, "recovered": False, "end_reason": "stopped" if seq == 3 else None,
    }  # fmt: skip


def _sounds(stream: str, seq: int, level: float) -> list[dict[str, Any]]:
    """One sound within the second chunk of each stream."""
    if seq != 1:
        return []
    first = seq * _RATE + 2_000
    return [
        {
            "sound_id": f"{stream}-s{first}", "first_frame": first, "frames": 4_000,
            "lafmax": level + 8.5, "laeq": level + 5.0,
        }
    ]  # fmt: skip


def _audio(stream: str, seq: int) -> bytes:
    """A saw tooth of its own for each chunk."""
    step = 7 + 2 * seq + (101 if stream == B else 0)
    samples = b"".join(((frame * step) % 2_000 - 1_000).to_bytes(2, "little", signed=True) for frame in range(_RATE))
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_RATE)
        sound.writeframes(samples)
    return file.getvalue()


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, separators=(",", ":")), encoding="utf-8")
