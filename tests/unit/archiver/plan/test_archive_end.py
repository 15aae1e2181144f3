"""An archive's manifest is found from its last bytes alone, whatever its size."""

from __future__ import annotations

import io
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.archiver.plan.archive_end import END_BYTES, ManifestPlace, manifest_place
from edge.archiver.plan.bundle import Bundle, BundleMember
from edge.core.errors import WireError

GIGABYTE = 1_000_000_000


def _found(bundle: Bundle, tail: int = END_BYTES) -> ManifestPlace:
    def must_not_open(name: str) -> io.BytesIO:
        raise AssertionError(name)

    start = max(0, bundle.size - tail)
    end = b"".join(bundle.read(start, tail, must_not_open)) if bundle.size > tail else None
    return manifest_place(end if end is not None else b"".join(bundle.stream(must_not_open)), bundle.size)


@pytest.mark.parametrize(
    ("members", "size"),
    [
        (0, 0),
        (1, 10_000),
        (3, 2 * GIGABYTE),  # beyond 4 GiB in all: the manifest's offset is in a zip64 field
        (1, 5 * GIGABYTE),
        (70_000, 1),  # more than a 16-bit count holds
    ],
)
def test_the_manifest_of_every_archive_that_we_write_is_found(members: int, size: int) -> None:
    manifest = b'{"v":1}' * 500
    bundle = Bundle([BundleMember(f"{number:06d}.flac", size, 1) for number in range(members)], manifest)
    place = _found(bundle)
    assert place.checked(b"".join(bundle.read(place.offset, place.length, lambda _: io.BytesIO()))) == manifest
    assert place.crc32 == zlib.crc32(manifest)


@given(st.lists(st.binary(max_size=300), max_size=5), st.binary(min_size=1, max_size=300))
def test_zipfile_finds_the_manifest_in_the_same_place(members: list[bytes], manifest: bytes) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for number, data in enumerate(members):
            archive.writestr(f"{number}.flac", data)
        archive.writestr("manifest.json", manifest)
    data = file.getvalue()
    place = manifest_place(data[-END_BYTES:], len(data))
    assert place.checked(data[place.offset : place.offset + place.length]) == manifest


def test_a_manifest_with_other_bytes_is_refused() -> None:
    with pytest.raises(WireError, match="damaged"):
        ManifestPlace(0, 3, zlib.crc32(b"abc")).checked(b"abd")


@given(st.binary(max_size=2 * END_BYTES), st.integers(0, 2**70))
def test_other_bytes_are_no_archive(data: bytes, size: int) -> None:
    with pytest.raises(WireError):
        manifest_place(data, max(size, len(data)))
