"""Kills the archiver at every system call that changes something, restarts it, and checks what became of the sound.

    python -m tests.campaigns.archiver_kill_points [--every N] [--jobs N] [--results FILE]

Each point is one run: a spool of its own, a store of its own, SIGKILL by strace on entering the call. Results go to a
file, one line each; points that stand there are not run again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from edge.catalog import CatalogReader
from edge.catalog.erasures import Erasures
from edge.configuration.loader import to_ini
from edge.configuration.settings import Archive, Mqtt, Node, Recorder, Settings
from edge.configuration.settings import Catalog as CatalogSettings
from edge.core.errors import CatalogBusy
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import SpoolState
from edge.spool.spool import Spool
from edge.store.s3 import S3Store
from tests.support.spool.chunks import BOOT, START, STREAM, make_chunk, make_stream, put_chunk
from tests.support.store.s3 import RunningStore, running_store
from tests.support.wait import wait_until

CALLS = ("fdatasync", "fsync", "pwrite64", "unlink", "sendto", "fcntl")
PROCESS = """
import logging, sys, threading
from pathlib import Path
from edge.archiver import service
from edge.archiver.pacing import Pacing
from edge.configuration.loader import load
logging.basicConfig(level=logging.INFO)
pace = Pacing(rescan=0.5, first_retry=0.05, longest_link_retry=0.2, longest_retry=0.2, blocked_retry=0.2)
service.run(load(Path(sys.argv[1])), threading.Event(), pace)
"""


class Scene(NamedTuple):
    """What is archived: `sizes` are the chunks' bytes, `together` how many share an archive.

    With `forget` they are archived already, and what the archiver is killed at is erasing those.
    """

    name: str
    sizes: tuple[int, ...]
    together: int
    forget: tuple[int, ...] = ()


SCENES = (
    Scene("whole", (15_000,) * 4, 2),
    Scene("parts", (3_500_000,) * 3, 3),
    Scene("forget", (15_000,) * 6, 2, forget=(1, 2, 3)),  # a part of one archive, and the whole of another
)


class KillPoint(NamedTuple):
    scene: Scene
    call: str
    when: int

    def __str__(self) -> str:
        return f"{self.scene.name}:{self.call}:{self.when}"


def survive(point: KillPoint) -> str:
    """Runs one point; gives `killed`, or `unharmed` when the call did not happen that often. Raises AssertionError."""
    with tempfile.TemporaryDirectory(prefix="imhearing-kill-") as name, running_store() as store:
        folder = Path(name)
        settings, files = _prepare(folder, store, point.scene)
        kept = {chunk_id: data for seq, (chunk_id, data) in enumerate(files.items()) if seq not in point.scene.forget}
        inject = f"inject={point.call}:signal=SIGKILL:when={point.when}"
        command = ["strace", "-f", "-qq", "-o", str(folder / "trace"), "-e", f"trace={point.call}", "-e", inject]
        killed = _run(settings, folder, command)
        _check_after_kill(settings, store, kept)
        if killed:
            assert not _run(settings, folder, []), "the second run ended by itself"
        _check_in_the_end(settings, store, files, kept)
        return "killed" if killed else "unharmed"


def count_points(scene: Scene) -> dict[str, int]:
    """How often one thread makes each call in a run that nobody disturbs."""
    with tempfile.TemporaryDirectory(prefix="imhearing-kill-") as name, running_store() as store:
        folder = Path(name)
        settings, _ = _prepare(folder, store, scene)
        trace = folder / "trace"
        _run(settings, folder, ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={','.join(CALLS)}"])
        found = Counter(re.findall(r"^(\d+) +(\w+)\(", trace.read_text(), re.MULTILINE))
    return {call: max([n for (_, c), n in found.items() if c == call], default=0) for call in CALLS}


def _prepare(folder: Path, store: RunningStore, scene: Scene) -> tuple[Settings, dict[str, bytes]]:
    spool, noise, files = Spool(folder / "spool", "porch"), random.Random(7), {}
    spool.create()
    spool.streams.write(make_stream())
    spool.state.write(SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM))
    for seq, size in enumerate(scene.sizes):
        data = noise.randbytes(size)
        chunk = make_chunk(seq, data)
        put_chunk(spool, chunk, data)
        files[chunk.chunk_id] = data
    settings = Settings(
        node=Node(name="porch"),
        recorder=Recorder(record_path=spool.path),
        mqtt=Mqtt(host="127.0.0.1", port=1),
        archive=Archive(archive_max_chunks=scene.together),
        s3=store.settings,
        catalog=CatalogSettings(db_path=folder / "catalog.db"),
    )
    config = folder / "config.ini"
    config.write_text(to_ini(settings, "of a test") + "\n[thresholds]\nrecords_count = 1\n")
    config.chmod(0o600)
    if scene.forget:
        assert not _run(settings, folder, []), "it ended by itself"
        length = make_chunk(0).ended_at - START
        begin, end = START + scene.forget[0] * length, START + (scene.forget[-1] + 1) * length
        Erasures(settings.catalog.db_path).give(Instant(begin), Instant(end), START)
    return settings, files


def _run(settings: Settings, folder: Path, around: list[str]) -> bool:
    """Runs the archiver until all is archived, and erased; True when it was killed before that."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([*around, sys.executable, "-c", PROCESS, str(folder)], stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or _is_done(settings), "it is killed or done", 60)
        return process.poll() is not None
    except AssertionError as problem:
        last = (folder / "log").read_text(errors="replace").splitlines()[-5:]
        raise AssertionError(f"{problem}; it said: {' / '.join(last)}") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends strace's child first, by its number: strace alone would leave it running."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if process.poll() is None and "strace" in str(process.args[0]):  # type: ignore[index]
        for child in children.read_text().split():
            os.kill(int(child), 9)
        process.wait(10)
    process.kill()
    process.wait()


def _is_done(settings: Settings) -> bool:
    if Erasures(settings.catalog.db_path).open():
        return False
    return not list(settings.recorder.record_path.glob("*.json")) or not any(
        path.suffix == ".flac" or re.search(r"-\d{6}\.json$", path.name)
        for path in settings.recorder.record_path.iterdir()
    )


def _check_after_kill(settings: Settings, store: RunningStore, files: dict[str, bytes]) -> None:
    """Every chunk is whole on disk, or whole in the store and known to be there."""
    stored = {row for row, where in _rows(settings).items() if where}
    archived = _archived(store)
    for chunk_id, data in files.items():
        path = settings.recorder.record_path / f"{chunk_id}.flac"
        if path.exists():
            assert path.read_bytes() == data, f"{chunk_id} was changed on disk"
        else:
            assert chunk_id in stored, f"{chunk_id} left the disk before the catalog said so"
        if chunk_id in stored:
            assert archived.get(chunk_id) == data, f"{chunk_id} is not in the store as the catalog says"


def _check_in_the_end(settings: Settings, store: RunningStore, files: dict[str, bytes], kept: dict[str, bytes]) -> None:
    rows = _rows(settings)
    assert rows.keys() == files.keys(), "the catalog has other chunks"
    assert {chunk_id for chunk_id, archive in rows.items() if archive} == kept.keys(), "other chunks are stored"
    assert _archived(store) == kept, "the store has other sound"
    assert S3Store(store.settings).open_uploads("imhearing/") == [], "an upload was left open"
    archives = set(rows.values()) - {None}
    for archive_id in archives:
        assert len(list(store.folder.rglob(f"{archive_id}.zip"))) == 1, "an archive is missing"
    with_sound = [path for path in store.folder.rglob("*.zip") if _members(path)]
    assert len(with_sound) == len(archives), "an archive nobody knows"


def _rows(settings: Settings) -> dict[str, str | None]:
    """Where the catalog says each chunk is; nothing while it was not made yet."""
    reader = CatalogReader(settings.catalog.db_path)
    deadline = time.monotonic() + 1.5
    while True:
        try:
            rows = reader.chunks_between(FIRST, LAST, 1_000)
            break
        except CatalogBusy:
            if time.monotonic() > deadline:
                return {}
            time.sleep(0.05)
    reader.close()
    return {row.chunk.chunk_id: row.where.archive if row.where else None for row in rows}


def _archived(store: RunningStore) -> dict[str, bytes]:
    """What the store has; an archive and the one that replaces it may both be there for a while."""
    found: dict[str, bytes] = {}
    for path in store.folder.rglob("*.zip"):
        for chunk_id, data in _members(path).items():
            assert found.setdefault(chunk_id, data) == data, f"{chunk_id} is in two archives, and differs"
    return found


def _members(path: Path) -> dict[str, bytes]:
    """The chunks of one archive; none while it is being written."""
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return {name.split(".")[0]: archive.read(name) for name in archive.namelist() if name != "manifest.json"}
    return {}


def every_point(every: int) -> Iterator[KillPoint]:
    for scene in SCENES:
        for call, times in count_points(scene).items():
            for when in range(1, times + 1, every):
                yield KillPoint(scene, call, when)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only each so manieth point")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--results", type=Path, default=Path("kill_points.txt"))
    options = parser.parse_args()
    if shutil.which("strace") is None:
        print("strace is not installed", file=sys.stderr)  # noqa: T201
        return 1
    known = (
        dict(line.split(" ", 1) for line in options.results.read_text().splitlines())
        if options.results.exists()
        else {}
    )

    def one(point: KillPoint) -> tuple[KillPoint, str]:
        try:
            return point, survive(point)
        except AssertionError as problem:
            return point, f"FAILED {problem}"

    todo = [point for point in every_point(options.every) if str(point) not in known]
    tally: Counter[str] = Counter(result.split()[0] for result in known.values())
    with ThreadPoolExecutor(options.jobs) as pool, options.results.open("a") as results:
        for point, result in pool.map(one, todo):
            tally[result.split()[0]] += 1
            results.write(f"{point} {result}\n")
            results.flush()
    print(dict(tally))  # noqa: T201
    return 1 if tally["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
