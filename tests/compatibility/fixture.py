"""Packs and restores the old node's files; the audio that is too large to commit is generated again."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import struct
import tarfile
import wave
from pathlib import Path
from typing import Any

NODE = "porch"
BUCKET = "imhearing"
PART = 8 * 1024 * 1024  # bytes of each part of an upload but the last
NOISE_RATE, NOISE_CHANNELS, NOISE_SECONDS = 192_000, 8, 3  # three chunks of 3 MB: an archive of two parts

_HERE = Path(__file__).parent / "data"
PACKED = _HERE / "4bf7b8b.tar.xz"
EXPECTED = _HERE / "4bf7b8b.json"


def noise(second: int) -> bytes:
    """One second of 16-bit samples, the same on every machine."""
    return hashlib.shake_256(f"imhearing noise {second}".encode()).digest(NOISE_RATE * NOISE_CHANNELS * 2)


def wav(samples: bytes, rate: int, channels: int) -> bytes:
    """A 16-bit WAV file, byte for byte as libsndfile writes it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(samples)
    return file.getvalue()


def pack(data: Path, bucket: Path, target: Path) -> None:
    """Packs data folder and bucket, without noise and logs; modification times are kept."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for root, name in ((data, "data"), (bucket, "bucket")):
            tar.add(root, name, filter=_anonymous)
    target.write_bytes(lzma.compress(packed.getvalue(), preset=9 | lzma.PRESET_EXTREME))


def restore(folder: Path) -> tuple[Path, Path]:
    """Unpacks data folder and bucket into `folder`, adds the noise, and returns both paths."""
    with tarfile.open(PACKED) as tar:
        if hasattr(tarfile, "data_filter"):  # Python 3.11.4 and later
            tar.extractall(folder, filter="data")
        else:
            tar.extractall(folder)  # noqa: S202 - packed by us
    data, bucket = folder / "data", folder / "bucket"
    for second, manifest in enumerate(noise_manifests(data)):
        audio = wav(noise(second), NOISE_RATE, NOISE_CHANNELS)
        assert hashlib.sha256(audio).hexdigest() == manifest["sha256"], (
            "the generated noise does not match its manifest"
        )
        (data / "spool" / f"{manifest['chunk_id']}.wav").write_bytes(audio)
    return data, bucket


def noise_manifests(data: Path) -> list[dict[str, Any]]:
    """The manifests of the noise in the spool, in order."""
    manifests = [json.loads(path.read_bytes()) for path in sorted((data / "spool").glob("*-??????.json"))]
    return [manifest for manifest in manifests if manifest["format"] == "wav"]


def first_part(data: Path) -> bytes:
    """The first part of the archive of the noise: stored zip members (APPNOTE 6.3.10, section 4.3.7)."""
    pieces = []
    for manifest in noise_manifests(data):
        name = f"{manifest['chunk_id']}.wav"
        size = manifest["bytes"]
        sizes = (manifest["crc32"], size, size, len(name), 0)
        pieces.append(struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 0, 0, 1 << 5 | 1, *sizes) + name.encode())
        pieces.append((data / "spool" / name).read_bytes())
    return b"".join(pieces)[:PART]


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if member.name.endswith((".wav", ".log")):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
