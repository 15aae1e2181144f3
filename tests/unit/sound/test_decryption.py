"""An encrypted file opens only with the right key, and only if it is complete."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyrage
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.core.errors import FetchError
from query_service.sound.decryption import decrypt_file, read_keys

PLAIN = bytes(range(256)) * 1_000


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    path.write_text(f"# created: today\n{pyrage.x25519.Identity.generate()}\n")
    return path


def encrypted(folder: Path, key_file: Path) -> Path:
    public = pyrage.x25519.Identity.from_str(key_file.read_text().splitlines()[-1]).to_public()
    path = folder / "chunk.flac.age"
    path.write_bytes(pyrage.encrypt(PLAIN, [public]))
    return path


def test_a_decrypted_file_is_complete_and_private(tmp_path: Path, key_file: Path) -> None:
    target = tmp_path / "chunk.flac"
    decrypt_file(encrypted(tmp_path, key_file), target, read_keys(key_file), hashlib.sha256(PLAIN).hexdigest())
    assert target.read_bytes() == PLAIN
    assert target.stat().st_mode & 0o777 == 0o600


def test_decryption_with_another_key_fails(tmp_path: Path, key_file: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(str(pyrage.x25519.Identity.generate()))
    with pytest.raises(FetchError, match=r"cannot be decrypted with .*other.txt"):
        decrypt_file(encrypted(tmp_path, key_file), tmp_path / "chunk.flac", read_keys(other))
    assert not (tmp_path / "chunk.flac").exists()


def test_a_decrypted_file_that_does_not_match_its_manifest_is_refused(tmp_path: Path, key_file: Path) -> None:
    with pytest.raises(FetchError, match="not what its manifest says"):
        decrypt_file(encrypted(tmp_path, key_file), tmp_path / "chunk.flac", read_keys(key_file), "0" * 64)
    assert not (tmp_path / "chunk.flac").exists()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), keep=st.booleans())
def test_a_changed_or_truncated_encrypted_file_is_refused(
    tmp_path: Path, key_file: Path, place: float, keep: bool
) -> None:
    source = encrypted(tmp_path, key_file)
    data = bytearray(source.read_bytes())
    at = min(len(data) - 1, int(place * len(data)))
    data[at] ^= 1
    source.write_bytes(data if keep else data[:at])
    with pytest.raises(FetchError, match="cannot be decrypted"):
        decrypt_file(source, tmp_path / "chunk.flac", read_keys(key_file))
    assert not (tmp_path / "chunk.flac").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "holds no private key"), ("# nothing", "holds no private key"), ("AGE-SECRET-KEY-1X", "line 1")],
)
def test_an_invalid_key_file_is_refused_without_quoting_it(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "keys.txt"
    path.write_text(text)
    with pytest.raises(FetchError, match=message) as caught:
        read_keys(path)
    assert "1X" not in str(caught.value)


def test_a_missing_key_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="cannot be read"):
        read_keys(tmp_path / "missing")
