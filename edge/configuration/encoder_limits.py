"""What the encoders of chunks take, so that a source they refuse is refused before anything is recorded. Pure."""

from __future__ import annotations

from typing import NamedTuple

from edge.core.values import AudioFormat

FLAC_CHANNELS = 8
FLAC_RATE = 655_350
FLAC_COARSE_RATE = 65_535  # above it the header holds tens of Hz (RFC 9639, section 9.1.2; libFLAC's streamable subset)
WAV_BYTES = 2**32 - 2**16  # RIFF counts in 32 bits; some are the header's


class Unencodable(NamedTuple):
    """Which limit a source exceeds, and the settings, each `key=value` of `[recorder]`, that avoid it."""

    limit: str
    changes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.limit}; set [recorder] {' and '.join(change.replace('=', ' = ') for change in self.changes)}"


def check_encodable(
    rate: int, channels: int, bits: int, audio_format: AudioFormat, record_period: float
) -> Unencodable | None:
    """Why chunks of `record_period` seconds cannot be written; None where they can."""
    limits, changes = [], []
    if audio_format == "flac" and (limit := _flac_limit(rate, channels)):
        limits.append(limit)
        changes.append("format=wav")
    longest = WAV_BYTES // (rate * channels * bits // 8)
    if (limits or audio_format == "wav") and record_period > longest:
        limits.append(f"WAV takes at most 4 GiB a chunk, which is {longest} s of this source")
        changes.append(f"record_period={longest}")
    return Unencodable(", and ".join(limits), tuple(changes)) if limits else None


def _flac_limit(rate: int, channels: int) -> str | None:
    if channels > FLAC_CHANNELS:
        return f"FLAC takes at most {FLAC_CHANNELS} channels, not {channels}"
    if rate > FLAC_RATE:
        return f"FLAC takes at most {FLAC_RATE} Hz, not {rate}"
    if rate > FLAC_COARSE_RATE and rate % 10:
        return f"FLAC takes rates above {FLAC_COARSE_RATE} Hz in steps of 10 Hz only, not {rate}"
    return None
