"""A rebuild from a bucket that others write to as well reads only what can be ours, within bounds."""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.archiver.plan.plan import MAX_MANIFEST, ArchivePlan, Destination, make_plan
from edge.archiver.rebuild import Rebuilt, rebuild
from edge.archiver.stored_manifests import fetch_manifest
from edge.archiver.verify import verify
from edge.catalog import Catalog
from edge.core import wire
from edge.core.errors import WireError
from edge.core.instant import FIRST, LAST, Instant
from edge.core.values import SoundSpan
from edge.spool.spool import Spool
from edge.store.s3 import S3Store
from tests.support.spool.chunks import STREAM, make_chunk, make_stream
from tests.support.store.s3 import RunningStore

PREFIX, NODE = "imhearing/", "porch"
DAY = f"{PREFIX}{NODE}/2026/03/03/"
ARCHIVE = f"{STREAM}-000000-0123abcd"
KEY = f"{DAY}{ARCHIVE}.zip"
MEGABYTE = 1_000_000
SOUND = b"sound"


class _Bucket:
    """Objects in memory; remembers which of them were read."""

    bucket = "bucket"

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.read_keys: set[str] = set()

    def keys(self, prefix: str, after: str = "") -> Iterator[tuple[str, int]]:
        found = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        return ((key, len(self.objects[key])) for key in found)

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        self.read_keys.add(key)
        data = self.objects[key]
        for start in range(offset, offset + length, 262_144):
            yield data[start : min(start + 262_144, offset + length)]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool", NODE)
    spool.create()
    return spool


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with contextlib.closing(Catalog(tmp_path / "catalog.db")) as catalog:
        yield catalog


def _archive(plan: ArchivePlan) -> bytes:
    return b"".join(plan.bundle.stream(lambda _: io.BytesIO(SOUND)))


def _ours() -> ArchivePlan:
    sounds = (SoundSpan(f"{STREAM}-s100", 100, 500, -20.0, -24.0),)
    chunk = make_chunk(0, SOUND, sounds=sounds)
    return make_plan([chunk], {STREAM: make_stream()}, Destination("bucket", PREFIX, NODE))


def _zipped(manifest: bytes, compression: int = zipfile.ZIP_STORED) -> bytearray:
    """An archive whose only member is `manifest`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("manifest.json", manifest)
    return bytearray(file.getvalue())


def _rebuilt(bucket: _Bucket, spool: Spool, catalog: Catalog) -> Rebuilt:
    return rebuild(bucket, PREFIX, spool, catalog, Instant(9))


def test_a_rebuild_reads_only_keys_shaped_like_this_nodes(spool: Spool, catalog: Catalog) -> None:
    plan = _ours()
    name = plan.key.rpartition("/")[2]
    strangers = [
        f"{PREFIX}{NODE}/clips/{name}",
        f"{PREFIX}{NODE}/clips/2026/03/03/{name}",
        f"{PREFIX}{NODE}/corrections/clips/{STREAM}.json",
        f"{PREFIX}{NODE}/corrections/readme.json",
        f"{PREFIX}{NODE}/corrections/{name}",
        f"{PREFIX}{NODE}/{name}",
        f"{DAY}../03/{name}",
        f"{DAY}{name}.zip",
        f"{DAY}{name}\n.zip",
        f"{DAY}backup.zip",
        f"{PREFIX}{NODE}/2026/3/3/{name}",
        f"{PREFIX}{NODE}/２０２６/03/03/{name}",
    ]
    bucket = _Bucket({plan.key: _archive(plan), **dict.fromkeys(strangers, _archive(plan))})
    found = _rebuilt(bucket, spool, catalog)
    assert found.archives == 1
    assert bucket.read_keys == {plan.key}


def test_a_million_foreign_objects_are_counted_instead_of_listed(spool: Spool, catalog: Catalog) -> None:
    bucket = _Bucket({f"{DAY}{number:07d}.zip": b"" for number in range(20_000)})
    found = _rebuilt(bucket, spool, catalog)
    assert len(found.faults) < 200
    assert "19900 more" in found.faults[-1]


def test_verify_says_which_zip_files_are_no_archives_of_this_node(spool: Spool, catalog: Catalog) -> None:
    bucket = _Bucket({f"{PREFIX}{NODE}/backup.zip": b"x", f"{PREFIX}{NODE}/clips/x.zip": b"x", KEY: b"x"})
    assert list(verify(bucket, PREFIX, spool, catalog)) == [
        f"s3://bucket/{PREFIX}{NODE}/backup.zip: is no archive of this node; move it elsewhere",
        f"s3://bucket/{KEY}: is not in the catalog; `imhearing catalog rebuild` adds it",
    ]


def _directory_bomb(entries: int) -> bytes:
    """A valid zip whose central directory lists one empty member again and again."""
    name = b"x"
    local = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0) + name
    central = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + name
    directory = central * entries
    at, size = len(local), len(directory)
    zip64 = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, entries, entries, size, at)
    locator = struct.pack("<IIQI", 0x07064B50, 0, at + size, 1)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, size, at, 0)
    return local + directory + zip64 + locator + end


def _peak(bucket: _Bucket, spool: Spool, catalog: Catalog) -> tuple[Rebuilt, float]:
    """What a rebuild found, and the most memory that it took, in MB."""
    tracemalloc.start()
    try:
        found = _rebuilt(bucket, spool, catalog)
        return found, tracemalloc.get_traced_memory()[1] / MEGABYTE
    finally:
        tracemalloc.stop()


def test_a_huge_central_directory_costs_no_memory(spool: Spool, catalog: Catalog) -> None:
    """46 MB of them once took 236 MB."""
    bucket = _Bucket({KEY: _directory_bomb(200_000)})
    found, megabytes = _peak(bucket, spool, catalog)
    assert len(found.faults) == 1
    assert megabytes < 8


def test_a_manifest_that_is_too_large_is_refused_before_it_is_read(spool: Spool, catalog: Catalog) -> None:
    bucket = _Bucket({KEY: bytes(_zipped(b" " * (MAX_MANIFEST + 1)))})
    found, megabytes = _peak(bucket, spool, catalog)
    assert "too large" in found.faults[0]
    assert megabytes < 8


def test_the_densest_manifest_costs_a_bounded_amount_of_memory(spool: Spool, catalog: Catalog) -> None:
    """Two bytes of JSON, such as `0,`, become 32 in memory."""
    chunk = wire.to_plain(make_chunk(0, SOUND)) | {"member": None, "offset": None, "length": None, "gone": "quiet"}
    chunk["levels"]["per_second"] = []
    head = {"v": 1, "archive_id": ARCHIVE, "node": NODE, "streams": [], "chunks": [chunk]}
    before, after = wire.encode(head).split(b'"per_second":[')
    zeros = b"0," * (MAX_MANIFEST // 2 - 1_000) + b"0"
    bucket = _Bucket({KEY: bytes(_zipped(before + b'"per_second":[' + zeros + after))})
    found, megabytes = _peak(bucket, spool, catalog)
    assert "contradicts itself" in found.faults[0]
    assert megabytes < 24 * MAX_MANIFEST / MEGABYTE


# numbers

_ABSURD: dict[str, Any] = {
    "frames beyond any recording": ("chunks.0.frames", 2**63 - 1),
    "a first frame beyond any recording": ("chunks.0.first_frame", 2**63 - 1),
    "a rate that no sound card has": ("chunks.0.rate", 2**62),
    "more bytes than a disk holds": ("chunks.0.bytes", 2**62),
    "another number than in its ID": ("chunks.0.seq", 7),
    "a duration of centuries": ("chunks.0.ended_at", "2426-03-03T22:00:01.000000Z"),
    "an infinite rate": ("chunks.0.clock.measured_rate", 1e300),
    "a level that is none": ("chunks.0.levels.lafmax", 1e300),
    "levels of more seconds than it has": ("chunks.0.levels.per_second", [-40.5, -40.5, -40.5]),
    "a level of a second that is none": ("chunks.0.levels.per_second", [-1e300]),
    "a level of a sound that is none": ("chunks.0.sounds.0.lafmax", 1e300),
    "a sound of another stream": ("chunks.0.sounds.0.sound_id", "20260303T221000Z-efgh-s100"),
    "a sound beyond any recording": ("chunks.0.sounds.0.frames", 2**63 - 1),
    "a place beyond the archive's end": ("chunks.0.offset", 10**9),
    "a place in the manifest": ("chunks.0.offset", 500),
    "a length beyond the archive's end": ("chunks.0.length", 10**9),
    "another length than its sound": ("chunks.0.length", 4),
    "another member's name": ("chunks.0.member", "manifest.json"),
    "a shift of more than all time": ("streams.0.shift", 10**40),
    "a clock of more than all time": ("streams.0.utc_offset", -(10**40)),
    "a knot beyond any recording": ("streams.0.knots.0.0", 10**40),
    "a stream's rate that no sound card has": ("streams.0.rate", 2**62),
    "channels that no sound card has": ("streams.0.channels", 2**62),
    "bits that no sound card has": ("streams.0.bits", 2**62),
    "chunks beyond any recording": ("streams.0.chunk_frames", 2**62 + 1),
    "an ordinal beyond any number of streams": ("streams.0.ordinal", 2**62 + 1),
    "a calibration that is none": ("streams.0.calibration_db", -1e300),
    "a stream of no chunk here": ("streams.0.stream_id", "20260303T221000Z-efgh"),
}


def _altered(document: Any, path: str, value: object) -> Any:
    *way, last = path.split(".")
    place = document
    for step in way:
        place = place[int(step) if step.isdecimal() else step]
    place[int(last) if last.isdecimal() else last] = value
    return document


def _text(document: Any, value: object) -> bytes:
    """`document` as JSON, with `value` instead of HERE; msgspec encodes no integers beyond 64 bits."""
    return wire.encode(document).replace(b'"HERE"', json.dumps(value).encode())


def _with(plan: ArchivePlan, manifest: bytes) -> bytes:
    """The archive of `plan` with another manifest."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for member in plan.members:
            archive.writestr(member.member, SOUND)
        archive.writestr("manifest.json", manifest)
    return file.getvalue()


@pytest.mark.parametrize(("path", "value"), _ABSURD.values(), ids=_ABSURD.keys())
def test_a_manifest_with_an_absurd_number_is_refused(spool: Spool, catalog: Catalog, path: str, value: Any) -> None:
    plan = _ours()
    manifest = wire.decode(plan.manifest, dict)
    assert fetch_manifest(_Bucket({plan.key: _with(plan, wire.encode(manifest))}), plan.key, len(_archive(plan)))
    text = _text(_altered(manifest, path, "HERE"), value)
    found = _rebuilt(_Bucket({plan.key: _with(plan, text)}), spool, catalog)
    assert (found.archives, len(found.faults)) == (0, 1)
    assert catalog.chunks_between(FIRST, LAST, 9) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [pytest.param(*one, id=name) for name, one in _ABSURD.items() if one[0].startswith("streams.0")],
)
def test_a_correction_with_an_absurd_number_is_refused(spool: Spool, catalog: Catalog, path: str, value: Any) -> None:
    record = wire.decode(wire.encode(make_stream()), dict)
    text = _text(_altered(record, path.removeprefix("streams.0."), "HERE"), value)
    found = _rebuilt(_Bucket({f"{PREFIX}{NODE}/corrections/{STREAM}.json": text}), spool, catalog)
    assert len(found.faults) == 1
    assert catalog.stream(STREAM) is None


# bytes


def _encrypted() -> bytes:
    data = _zipped(b"{}" * 500)
    data[6] |= 1
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def _without_places() -> bytes:
    """An archive whose only chunk has neither a place nor a cause."""
    chunk = {**wire.to_plain(make_chunk(0, SOUND)), "member": None, "offset": None, "length": None}
    manifest = {"v": 1, "archive_id": ARCHIVE, "node": NODE, "streams": [], "chunks": [chunk]}
    return bytes(_zipped(wire.encode(manifest)))


def _broken(compression: int) -> bytes:
    data = _zipped(random.Random(1).randbytes(500), compression)
    data[60:90] = b"\xff" * 30
    return bytes(data)


_HOSTILE = {
    "encrypted": _encrypted(),
    "bz2": _broken(zipfile.ZIP_BZIP2),
    "lzma": _broken(zipfile.ZIP_LZMA),
    "deflated": _broken(zipfile.ZIP_DEFLATED),
    "without places": _without_places(),
    "empty": b"",
    "cut off": _archive(_ours())[:-1],
    "no zip": b"not a zip" * 100,
    "of another node's archive": _archive(make_plan([make_chunk(0, SOUND)], {}, Destination("", PREFIX, "shed"))),
}


def test_hostile_objects_in_the_bucket_do_not_end_a_rebuild(
    tmp_path: Path, spool: Spool, store: RunningStore, catalog: Catalog
) -> None:
    """Through a real S3 server."""
    plan, bucket = _ours(), S3Store(store.settings)
    objects = {f"{DAY}{STREAM}-000000-{number:08x}.zip": data for number, data in enumerate(_HOSTILE.values())}
    objects[f"{PREFIX}{NODE}/corrections/20260303T220000Z-aaaa.json"] = b""
    objects[f"{PREFIX}{NODE}/corrections/20260303T220000Z-bbbb.json"] = b'{"shift":' + b"9" * 5_000 + b"}"
    objects[f"{PREFIX}{NODE}/corrections/20260303T220000Z-cccc.json"] = wire.encode(make_stream())
    for key, data in {**objects, plan.key: _archive(plan)}.items():
        file = store.folder / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    found = rebuild(bucket, PREFIX, spool, catalog, Instant(9))
    assert (found.archives, len(found.faults)) == (1, len(objects))
    assert [row.chunk for row in catalog.chunks_between(FIRST, LAST, 9)] == [plan.members[0].chunk]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2_000), st.integers(1, 255)), min_size=1, max_size=4))
def test_an_archive_with_wrong_bytes_gives_a_manifest_or_a_wire_error(flips: list[tuple[int, int]]) -> None:
    data = bytearray(_archive(_ours()))
    for place, change in flips:
        data[-1 - place % len(data)] ^= change
    with contextlib.suppress(WireError):
        fetch_manifest(_Bucket({KEY: bytes(data)}), KEY, len(data))
