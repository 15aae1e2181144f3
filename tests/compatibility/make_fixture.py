"""Writes `data/` in a checkout of 4bf7b8b, with the code of that commit alone:

    git worktree add ../old 4bf7b8b && ../old/scripts/setup --dev --quiet
    cp -r tests/compatibility ../old/tests/
    (cd ../old && .venv/bin/python -m tests.compatibility.make_fixture)
    cp ../old/tests/compatibility/data/* tests/compatibility/data/

Recorder and archiver run until the node has every kind of unfinished work, and its data folder and bucket are packed.
The old code then continues twice: the original node with its store, and the restored copy, as the test does. Both must
have the same results, which become the expected ones.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.compatibility import fixture
from tests.compatibility.continuation import (
    command,
    continue_node,
    continue_restored,
    open_upload,
    service,
    store_settings,
)
from tests.support.messaging.broker import running_broker
from tests.support.messaging.mqtt import connected
from tests.support.store.fault_proxy import Fault, Request, running_proxy
from tests.support.store.s3 import RunningStore, running_store
from tests.support.wait import wait_until

_RATE = 8_000
_RECORDER = ("recorder.record_period=1", "levels.hold_seconds=0.2")
_ARCHIVER = ("thresholds.records_count=3", "archive.archive_max_chunks=3")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="imhearing-old-") as name, running_store() as store:
        folder = Path(name)
        data = folder / "node" / "data"
        data.mkdir(parents=True)
        _make(data, store)
        upload = open_upload(store)
        fixture.PACKED.parent.mkdir(exist_ok=True)
        fixture.pack(data, _objects(store, folder / "bucket"), fixture.PACKED)
        here = {"upload": {"key": upload.key, "parts": list(map(list, upload.parts))}, **continue_node(data, store)}
        restored = continue_restored(*fixture.restore(folder / "restored"), folder / "restored")
    if here != restored:
        _write(Path("original.json"), here)
        _write(Path("restored.json"), restored)
        print("the restored node ended up different: compare original.json and restored.json", file=sys.stderr)  # noqa: T201
        return 1
    _write(fixture.EXPECTED, here)
    print(f"{fixture.PACKED.stat().st_size + fixture.EXPECTED.stat().st_size} bytes")  # noqa: T201
    return 0


def _make(data: Path, store: RunningStore) -> None:
    """One life of the recorder a minute: an archive, the half-done upload, a plan, chunks that wait during a pause."""
    s3 = store_settings(store.settings)
    _record(data, 0, _quiet(3, seed=0), _RATE, 1, "flac")
    with service(data, "archiver", *_ARCHIVER, *s3):
        wait_until(lambda: _count(data, "archives WHERE uploaded_at IS NOT NULL") == 1, "an archive is uploaded", 60)
        wait_until(lambda: not list((data / "spool").glob("*.flac")), "its chunks are removed", 60)
    noise = b"".join(map(fixture.noise, range(fixture.NOISE_SECONDS)))
    _record(data, 1, noise, fixture.NOISE_RATE, fixture.NOISE_CHANNELS, "wav")
    _record(data, 2, _quiet(3, seed=2), _RATE, 1, "flac")
    _interrupt_upload(data, store)
    _pause(data, 3)
    first, second = _archived(data)[:2]
    for start, end in (first, second):  # no archiver is running, so the orders stay open
        command(data, (), "forget", "--from", start, "--to", end, "--yes", "--timeout", "0.1", "--utc")
    command(data, (), "hold", "--from", first[0], "--to", first[1])
    orders = len(list((data / "orders").glob("erase-*.json")))
    assert (orders, _count(data, "archives WHERE uploaded_at IS NULL")) == (2, 2)


def _record(data: Path, minute: int, samples: bytes, rate: int, channels: int, audio_format: str) -> None:
    """Records three chunks from a file."""
    played = data.with_name("played.wav")
    played.write_bytes(fixture.wav(samples, rate, channels))
    before = set((data / "spool").glob(f"*.{audio_format}"))
    settings = (f"recorder.source={played}", "recorder.pace=max", f"recorder.format={audio_format}", *_RECORDER)
    sounds = "thresholds.sound_level=-45"
    with service(data, "recorder", *settings, sounds, module=_in_march(minute)):
        wait_until(lambda: _state(data, minute).get("state") == "stopped", "the file has been played", 60)
        wait_until(lambda: len(set((data / "spool").glob(f"*.{audio_format}")) - before) == 3, "three chunks", 60)
    played.unlink()


def _interrupt_upload(data: Path, store: RunningStore) -> None:
    """Kills the archiver when part 1 of 2 is in the store and part 2 is being sent."""

    def fault(request: Request) -> Fault | None:
        return "stall" if request.name == "PUT part" and "partNumber=2" in request.query else None

    with running_proxy(store.settings) as (proxy, reached):
        proxy.choose = fault
        with service(data, "archiver", *_ARCHIVER, *store_settings(reached)) as process:
            wait_until(lambda: "stall" in [each for _, each in proxy.seen], "part 2 is sent", 60)
            wait_until(lambda: [part[0] for part in open_upload(store).parts] == [1], "part 1 is stored", 60)
            wait_until(lambda: _count(data, "archives WHERE uploaded_at IS NULL") == 2, "two are planned", 60)
            process.kill()
            process.wait(30)


def _pause(data: Path, minute: int) -> None:
    """Sets a limit and pauses while the recorder is recording, then kills it during the pause."""
    played = data.with_name("played.wav")
    played.write_bytes(fixture.wav(_quiet(60, seed=3), _RATE, 1))
    with running_broker() as broker, connected(broker.port) as mqtt:
        settings = ("mqtt.host=127.0.0.1", f"mqtt.port={broker.port}", f"recorder.source={played}", *_RECORDER)
        with service(data, "recorder", "recorder.sync_seconds=0.5", *settings, module=_in_march(minute)) as process:
            wait_until(lambda: _is_recording(data / "spool"), "the third chunk is being recorded", 60)
            limit = {"id": "compatibility-limit", "metric": "records_count", "limit": 100}
            mqtt.publish("imhearing/porch/request/set", json.dumps(limit))
            wait_until((data / "spool" / "settings.json").exists, "the limit is set", 60)
            mqtt.publish("imhearing/porch/request/pause", json.dumps({"id": "compatibility-pause"}))
            wait_until(lambda: _state(data, minute).get("state") == "paused", "the recorder is paused", 60)
            wait_until(lambda: not list((data / "spool").glob("*.part")), "the last chunk is finished", 60)
            process.kill()
            process.wait(30)
    played.unlink()


def _is_recording(spool: Path) -> bool:
    """Whether some of the third chunk is on the disk."""
    return any(part.stat().st_size > 1_000 for part in spool.glob("*-000002.flac.part"))


def _quiet(seconds: int, seed: int) -> bytes:
    """Faint noise, with one sound in its second second."""
    dice = random.Random(seed)
    samples = bytearray()
    for frame in range(seconds * _RATE):
        loudest = 2_000 if 10_000 <= frame < 12_000 else 6
        samples += dice.randrange(-loudest, loudest).to_bytes(2, "little", signed=True)
    return bytes(samples)


def _in_march(minute: int) -> tuple[str, ...]:
    return ("tests.compatibility.in_march", str(minute))


def _state(data: Path, minute: int) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((data / "spool" / "state.json").read_bytes())
    except FileNotFoundError:
        return {}
    return found if found["boot_id"].endswith(f"{minute:04x}") else {}  # else written by the previous boot


def _archived(data: Path) -> list[tuple[str, str]]:
    """Times within the chunks of the uploaded archive."""
    with contextlib.closing(sqlite3.connect(data / "catalog.db")) as catalog:
        rows = catalog.execute("SELECT started_at, ended_at FROM chunks WHERE state = 'stored' ORDER BY started_at")
        return [(_text(start + 100_000), _text(end - 100_000)) for start, end in rows]


def _text(microseconds: int) -> str:
    return (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _count(data: Path, of: str) -> int:
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(data / "catalog.db")) as catalog:
        return int(catalog.execute(f"SELECT count(*) FROM {of}").fetchone()[0])  # noqa: S608 - constants
    return -1


def _objects(store: RunningStore, target: Path) -> Path:
    """A copy of the bucket, without the server's own files for the open upload."""
    hidden: Callable[..., Any] = shutil.ignore_patterns(".rclone_temp_multipart_*")
    return Path(shutil.copytree(store.folder, target, ignore=hidden))


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
