"""The bytes of an archive: other programs read them, any range is reproducible, damage is detected."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_zip import NO_COMPRESSION_32, stream_zip

from edge.archiver.plan.bundle import Bundle, BundleMember, check, offsets
from edge.core.errors import ChunkDamaged

members = st.lists(st.binary(max_size=2_000), max_size=8).map(
    lambda all_data: {f"20260303T220000Z-abcd-{n:06d}.flac": data for n, data in enumerate(all_data)}
)
GIGABYTE = 1_000_000_000


def _entries(files: dict[str, bytes]) -> list[BundleMember]:
    return [BundleMember(name, len(data), zlib.crc32(data)) for name, data in files.items()]


def _opener(files: dict[str, bytes]) -> Callable[[str], BinaryIO]:
    def open_member(name: str) -> BinaryIO:
        if name not in files:
            raise FileNotFoundError(name)
        return io.BytesIO(files[name])

    return open_member


def _whole(files: dict[str, bytes], manifest: bytes = b"{}") -> bytes:
    return b"".join(Bundle(_entries(files), manifest).stream(_opener(files)))


@given(members, st.binary(min_size=1, max_size=500))
def test_zipfile_reads_back_every_member(files: dict[str, bytes], manifest: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(_whole(files, manifest))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {**files, "manifest.json": manifest}
        assert archive.namelist()[-1] == "manifest.json"


@given(members)
def test_an_archive_has_the_same_bytes_as_one_written_by_zipfile(files: dict[str, bytes]) -> None:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {**files, "manifest.json": b"{}"}.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o100644 << 16
            archive.writestr(info, data)
    assert _whole(files) == written.getvalue()


@given(members, st.data())
def test_any_byte_range_equals_that_of_the_whole_archive(files: dict[str, bytes], data: st.DataObject) -> None:
    bundle, whole = Bundle(_entries(files), b"{}"), _whole(files)
    assert bundle.size == len(whole)
    offset = data.draw(st.integers(0, bundle.size + 5))
    length = data.draw(st.integers(0, bundle.size + 5))
    assert b"".join(bundle.read(offset, length, _opener(files))) == whole[offset : offset + length]


@given(members)
def test_member_offsets_point_to_their_data(files: dict[str, bytes]) -> None:
    whole = _whole(files)
    for (_name, data), offset in zip(files.items(), offsets(_entries(files)), strict=True):
        assert whole[offset : offset + len(data)] == data


@given(members)
def test_an_archive_has_the_same_members_as_one_written_by_stream_zip(files: dict[str, bytes]) -> None:
    def theirs() -> bytes:
        method = NO_COMPRESSION_32
        when = datetime(1980, 1, 1)
        listing = ((name, when, 0o644, method, [data]) for name, data in files.items())
        return b"".join(stream_zip(listing))

    with zipfile.ZipFile(io.BytesIO(theirs())) as other, zipfile.ZipFile(io.BytesIO(_whole(files))) as ours:
        for info in other.infolist():
            mine = ours.getinfo(info.filename)
            assert (mine.CRC, mine.file_size, mine.compress_type) == (info.CRC, info.file_size, info.compress_type)


@pytest.mark.parametrize(
    "command",
    [["unzip", "-tqq"], ["7z", "t", "-bso0"], ["bsdtar", "-tf"], ["python3", "-m", "zipfile", "-t"]],
    ids=lambda command: command[0],
)
def test_other_programs_can_open_an_archive(tmp_path: Path, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    path = tmp_path / "archive.zip"
    path.write_bytes(_whole({f"20260303T220000Z-abcd-{n:06d}.flac": os.urandom(1000 + n) for n in range(50)}))
    assert subprocess.run([*command, str(path)], capture_output=True, check=False).returncode == 0


def test_an_archive_can_be_extracted_from_a_stream(tmp_path: Path) -> None:
    if shutil.which("bsdtar") is None:
        pytest.skip("bsdtar is not installed")
    files = {f"20260303T220000Z-abcd-{n:06d}.flac": os.urandom(5_000) for n in range(5)}
    command = ["bsdtar", "-xf", "-", "-C", str(tmp_path)]
    subprocess.run(command, input=_whole(files), check=True)
    assert {name: (tmp_path / name).read_bytes() for name in files} == files


class _Zeros(io.RawIOBase):
    """A file of zeros, for archives that need not lie on a disk."""

    def __init__(self, size: int) -> None:
        self._left = size

    def seek(self, offset: int, whence: int = 0) -> int:
        self._left -= offset
        return offset

    def read(self, size: int = -1) -> bytes:
        taken = min(size, self._left)
        self._left -= taken
        return bytes(taken)


class _Window(io.RawIOBase):
    """A bundle as a file that can be sought, made as it is read."""

    def __init__(self, bundle: Bundle, open_member: Callable[[str], BinaryIO]) -> None:
        self._bundle, self._open_member, self._at = bundle, open_member, 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._bundle.size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        size = self._bundle.size - self._at if size < 0 else size
        data = b"".join(self._bundle.read(self._at, size, self._open_member))
        self._at += len(data)
        return data


def test_an_archive_larger_than_4_gb_has_valid_zip64_offsets() -> None:
    sizes = {f"20260303T220000Z-abcd-{n:06d}.flac": 1_500 * 1_000_000 for n in range(4)}
    sizes["20260303T220000Z-abcd-000004.flac"] = 5 * GIGABYTE
    sizes["20260303T220000Z-abcd-000005.flac"] = 10
    bundle = Bundle([BundleMember(name, size, 0) for name, size in sizes.items()], b"{}")
    window = _Window(bundle, lambda name: _Zeros(sizes[name]))  # type: ignore[arg-type, return-value]
    with zipfile.ZipFile(window) as archive:
        assert {info.filename: info.file_size for info in archive.infolist()} == {**sizes, "manifest.json": 2}
        assert archive.read("manifest.json") == b"{}"
        for name in sizes:  # opening one checks its local header against the directory
            archive.open(name).close()


@pytest.mark.parametrize(
    "command",
    [["unzip", "-p"], ["7z", "e", "-so"], ["bsdtar", "-xOf"]],
    ids=lambda command: command[0],
)
def test_other_programs_find_a_member_beyond_4_gb(tmp_path: Path, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    entries = [BundleMember(f"20260303T220000Z-abcd-{n:06d}.flac", 1_500 * 1_000_000, 0) for n in range(3)]
    entries.append(BundleMember("20260303T220000Z-abcd-000003.flac", 5, zlib.crc32(b"sound")))
    bundle, path = Bundle(entries, b"{}"), tmp_path / "large.zip"
    with path.open("wb") as file:  # the large members stay holes: they take no room on the disk
        end = 0
        for entry, offset in zip(entries, offsets(entries), strict=True):
            file.seek(end)
            file.writelines(bundle.read(end, offset - end, lambda _: io.BytesIO()))
            end = offset + entry.size
        file.seek(end - 5)
        file.write(b"sound")
        file.writelines(bundle.read(end, bundle.size, lambda _: io.BytesIO()))
    assert path.stat().st_size == bundle.size > 4 * GIGABYTE
    found = subprocess.run([*command, str(path), entries[-1].name], check=True, capture_output=True)
    assert found.stdout == b"sound"


@given(members.filter(lambda files: any(files.values())), st.data())
def test_a_changed_member_is_detected_before_its_last_byte_is_sent(
    files: dict[str, bytes], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([name for name, content in files.items() if content]))
    place = data.draw(st.integers(0, len(files[name]) - 1))
    changed = bytearray(files[name])
    changed[place] ^= 1
    entries, sent = _entries(files), bytearray()
    pieces = Bundle(entries, b"{}").stream(_opener({**files, name: bytes(changed)}))
    with pytest.raises(ChunkDamaged) as caught:
        sent.extend(byte for piece in pieces for byte in piece)
    assert caught.value.chunk_id == name[: -len(".flac")]
    end_of_member = offsets(entries)[list(files).index(name)] + len(files[name])
    assert len(sent) < end_of_member


@pytest.mark.parametrize("content", [None, b"", b"sho"])
def test_a_missing_or_short_member_is_reported_as_damaged(content: bytes | None) -> None:
    entry = BundleMember("20260303T220000Z-abcd-000000.flac", 5, zlib.crc32(b"short"))
    files = {} if content is None else {entry.name: content}
    with pytest.raises(ChunkDamaged, match=r"20260303T220000Z-abcd-000000\.flac"):
        check(entry, _opener(files))


def test_bytes_beyond_a_members_planned_size_are_ignored() -> None:
    entry = BundleMember("20260303T220000Z-abcd-000000.flac", 5, zlib.crc32(b"short"))
    check(entry, _opener({entry.name: b"short and more"}))
