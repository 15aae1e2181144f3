"""Encrypted sound from a store and a spool: whole with the private key, refused without it or with another."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyrage
import pytest
import soundfile
from msgspec.structs import replace

from edge.errors import FetchError
from edge.instant import Instant
from edge.model import Encryption
from edge.settings import Settings
from query_service import client
from tests.support.chunks import START, put_chunk
from tests.support.query_node import QueryNode
from tests.support.s3 import RunningStore, running_store

KEY = pyrage.x25519.Identity.generate()
END = Instant(START + 4_000_000)


@pytest.fixture(scope="module")
def store() -> Iterator[RunningStore]:
    with running_store() as running:
        yield running


@pytest.fixture
def node(tmp_path: Path, store: RunningStore) -> QueryNode:
    """Four chunks of a second, encrypted: two in an archive, two in the spool."""
    made = QueryNode(tmp_path, chunks=4)
    for name, plain in made.audio.items():
        data = pyrage.encrypt(plain, [KEY.to_public()])
        chunk = replace(
            made.spool.manifest(name), bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), crc32=zlib.crc32(data),
            encryption=Encryption((str(KEY.to_public()),), hashlib.sha256(plain).hexdigest()),
        )  # fmt: skip
        made.spool.remove(name)
        put_chunk(made.spool, chunk, data)
    made.archive(store.settings, sorted(made.audio)[:2])
    return made


@pytest.fixture
def settings(node: QueryNode, store: RunningStore) -> Settings:
    return node.with_doors(s3=store.settings)


def key_file(folder: Path, key: pyrage.x25519.Identity) -> Path:
    path = folder / "key.txt"
    path.write_text(f"{key}\n")
    return path


def test_the_key_opens_all_of_it(node: QueryNode, settings: Settings, tmp_path: Path) -> None:
    target = tmp_path / "heard.wav"
    client.fetch(settings, "local", START, END, target, identity=key_file(tmp_path, KEY))
    heard, _ = soundfile.read(target, dtype="int16")
    given = [soundfile.read(io.BytesIO(node.audio[name]), dtype="int16")[0] for name in sorted(node.audio)]
    np.testing.assert_array_equal(heard, np.concatenate(given))


def test_without_a_key_it_says_what_to_do(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="--identity"):
        client.fetch(settings, "local", START, END, tmp_path / "heard.wav")
    assert not (tmp_path / "heard.wav").exists()


def test_another_key_opens_nothing(settings: Settings, tmp_path: Path) -> None:
    other = key_file(tmp_path, pyrage.x25519.Identity.generate())
    with pytest.raises(FetchError, match="cannot be decrypted"):
        client.fetch(settings, "local", START, END, tmp_path / "heard.wav", identity=other)
    assert not list(tmp_path.glob("*heard*"))
