"""What a finished life left in its folder. Other libraries than the product read zip, FLAC, age, JSON and SQLite.

plan.json       the seed, settings and faults           facts.json  what happened, answers, exit codes
witness.raw     what the second recorder heard          store/      the bucket, as files
left/           the node's folder in the end            logs/       what the services wrote
left_tmpfs/     the same of its tmpfs                   catalog.db  the catalog before it was rebuilt
"""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyrage
import soundfile

Samples = npt.NDArray[np.int16]
RATE = 48_000
_WINDOW = 64  # frames that find a place; no two windows of the noise are equal
_NEAR = 3.0  # seconds in which the earliest arrival tells the time of all


class Copy(NamedTuple):
    """One file of a chunk: in an archive, or in the spool if `archive` is empty."""

    chunk_id: str
    archive: str
    name: str
    data: bytes


class Place(NamedTuple):
    """Frames of the witness, `end` exclusive."""

    start: int
    end: int


@dataclass(frozen=True)
class Facts:
    folder: Path

    @cached_property
    def life(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "facts.json").read_bytes())
        return found

    @cached_property
    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "plan.json").read_bytes())["settings"]
        return found

    @property
    def intervals(self) -> list[dict[str, Any]]:
        """Of the local answer."""
        answer = self.life["answers"]["coverage"]["local"]
        found: list[dict[str, Any]] = answer["intervals"] if isinstance(answer, dict) else []
        return found

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Those that had an effect."""
        return [e for e in self.life["events"] if e["effect"] is not None and (not kinds or e["kind"] in kinds)]

    @cached_property
    def archives(self) -> list[Path]:
        return sorted((self.folder / "store").rglob("*.zip"))

    @cached_property
    def copies(self) -> list[Copy]:
        """Every copy of a chunk that can be read; `archives_open` reports the others."""
        found = []
        for path in self.archives:
            try:
                with zipfile.ZipFile(path) as archive:
                    for name in archive.namelist():
                        if name != "manifest.json":
                            found.append(Copy(name.split(".")[0], path.stem, name, archive.read(name)))
            except (OSError, zipfile.BadZipFile):
                continue
        for path in sorted((self.folder / "left" / "spool").glob("*-[0-9][0-9][0-9][0-9][0-9][0-9].*")):
            if path.suffix in (".flac", ".wav", ".age"):
                found.append(Copy(path.name.split(".")[0], "", path.name, path.read_bytes()))
        return found

    @cached_property
    def listed(self) -> set[str]:
        """Every chunk that an archive's manifest describes, discarded ones included."""
        return {chunk["chunk_id"] for _, chunk in self.descriptions}

    @cached_property
    def descriptions(self) -> list[tuple[str, dict[str, Any]]]:
        """(archive, a chunk as its manifest describes it), discarded ones included."""
        found = []
        for path in self.archives:
            with (
                contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile),
                zipfile.ZipFile(path) as archive,
            ):
                found += [(path.stem, chunk) for chunk in json.loads(archive.read("manifest.json"))["chunks"]]
        return found

    @cached_property
    def witness(self) -> Samples:
        """Shape (frames, channels)."""
        return np.fromfile(self.folder / "witness.raw", np.int16).reshape(-1, self.settings["channels"])

    def decoded(self, copy: Copy) -> Samples:
        """Its samples, shape (frames, channels). Raises an error of the library that reads it."""
        data = copy.data
        if copy.name.endswith(".age"):
            identity = pyrage.x25519.Identity.from_str((self.folder / "identity.txt").read_text())
            data = pyrage.decrypt(data, [identity])
        samples: Samples = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)[0]
        return samples

    def place(self, samples: Samples) -> Place | None:
        """Where the witness heard exactly this; None if it did not."""
        whole, frame = self._witness_bytes, samples.itemsize * samples.shape[1]
        wanted = samples.tobytes()
        needle_at = next(
            (n for n in range(0, len(samples), _WINDOW) if np.ptp(samples[n : n + _WINDOW])), 0
        )  # silence is everywhere
        needle = wanted[needle_at * frame : (needle_at + _WINDOW) * frame]
        at = whole.find(needle)
        while at >= 0 and at % frame:
            at = whole.find(needle, at + 1)
        start = at // frame - needle_at
        if at < 0 or start < 0 or whole[start * frame : start * frame + len(wanted)] != wanted:
            return None
        return Place(start, start + len(samples))

    @cached_property
    def places(self) -> dict[str, Place | None]:
        """By chunk; None if the witness did not hear it so, or it cannot be decoded."""
        found: dict[str, Place | None] = {}
        for copy in self.copies:
            if copy.chunk_id not in found:
                try:
                    found[copy.chunk_id] = self.place(self.decoded(copy))
                except (soundfile.LibsndfileError, pyrage.DecryptError, RuntimeError):
                    found[copy.chunk_id] = None
        return found

    def utc(self, frame: int) -> float:
        """When the witness heard it: by the earliest arrival around it, as the others were late."""
        seconds = frame / RATE
        near = [late for second, late in self._lateness if abs(second - seconds) <= _NEAR]
        return seconds + (min(near) if near else self._lateness[-1][1])

    @cached_property
    def _lateness(self) -> list[tuple[float, float]]:
        """(second of the sound, the earliest arrival minus it) for each half second."""
        marks = json.loads((self.folder / "witness.json").read_bytes())["marks"]
        best: dict[int, float] = {}
        for frames, at in marks:
            half = int(2 * frames / RATE)
            best[half] = min(best.get(half, at - frames / RATE), at - frames / RATE)
        return [(half / 2, late) for half, late in sorted(best.items())]

    @cached_property
    def _witness_bytes(self) -> bytes:
        return self.witness.tobytes()


def seconds_of(text: str) -> float:
    """UTC seconds of an RFC 3339 time."""
    return datetime.fromisoformat(text).timestamp()
