"""Encrypted sound from a store and a spool: whole with the private key, refused without it or with another."""

from __future__ import annotations

import hashlib
import io
import zlib
from pathlib import Path

import numpy as np
import pyrage
import pytest
import soundfile
from msgspec.structs import replace

from commands import fetch as command
from commands.cli.parser import build_parser
from edge.configuration.settings import Node, Settings
from edge.core.errors import FetchError
from edge.core.instant import Instant
from edge.core.values import Encryption
from query_service import api
from query_service.sound.export import export_sound
from tests.support.messaging.realtime import in_loop
from tests.support.nodes.query_node import QueryNode
from tests.support.spool.chunks import START, put_chunk
from tests.support.store.s3 import RunningStore

KEY = pyrage.x25519.Identity.generate()
END = Instant(START + 4_000_000)


@pytest.fixture
def node(tmp_path: Path, store: RunningStore) -> QueryNode:
    """Four chunks of a second, encrypted: two in an archive, two in the spool."""
    made = QueryNode(tmp_path, chunks=4)
    for name, plain in made.audio.items():
        data = pyrage.encrypt(plain, [KEY.to_public()])
        chunk = replace(
            made.spool.chunks.manifest(name),
            bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), crc32=zlib.crc32(data),
            encryption=Encryption((str(KEY.to_public()),), hashlib.sha256(plain).hexdigest()),
        )  # fmt: skip
        made.spool.chunks.remove(name)
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


def test_the_private_key_decrypts_archived_and_pending_sound(
    node: QueryNode, settings: Settings, tmp_path: Path
) -> None:
    target = tmp_path / "heard.wav"
    api.fetch(settings, "local", START, END, target, identity=key_file(tmp_path, KEY))
    heard, _ = soundfile.read(target, dtype="int16")
    given = [soundfile.read(io.BytesIO(node.audio[name]), dtype="int16")[0] for name in sorted(node.audio)]
    np.testing.assert_array_equal(heard, np.concatenate(given))


def test_fetching_encrypted_sound_without_a_key_suggests_identity(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="--identity"):
        api.fetch(settings, "local", START, END, tmp_path / "heard.wav")
    assert not (tmp_path / "heard.wav").exists()


def test_another_private_key_decrypts_nothing(settings: Settings, tmp_path: Path) -> None:
    other = key_file(tmp_path, pyrage.x25519.Identity.generate())
    with pytest.raises(FetchError, match="cannot be decrypted"):
        api.fetch(settings, "local", START, END, tmp_path / "heard.wav", identity=other)
    assert not list(tmp_path.glob("*heard*"))


@in_loop
async def test_the_private_key_decrypts_exported_sound(node: QueryNode, settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    keys = api.read_identity(key_file(tmp_path, KEY))
    async with api.connect(settings, "local") as door:
        report = await export_sound(door, START, END, folder, Node("porch"), utc=True, keys=keys)
        with pytest.raises(FetchError, match="--identity"):
            await export_sound(door, START, END, folder, Node("porch"))
    for file, name in zip(report.files, sorted(node.audio), strict=True):
        heard, _ = soundfile.read(file.path, dtype="int16")
        np.testing.assert_array_equal(heard, soundfile.read(io.BytesIO(node.audio[name]), dtype="int16")[0])
    assert sorted(folder.iterdir()) == [file.path for file in report.files]


def test_the_export_command_accepts_the_private_key(node: QueryNode, tmp_path: Path) -> None:
    """Of what is still in the spool."""
    (tmp_path / "out").mkdir()
    words = [
        "fetch", "--data", str(tmp_path), "--from", "2026-03-03T22:00:02Z", "--to", "2026-03-03T22:00:04Z",
        "--export", str(tmp_path / "out"), "--set", f"node.name={node.settings.node.name}",
    ]  # fmt: skip
    with pytest.raises(FetchError, match="--identity"):
        command.run(build_parser().parse_args(words))
    assert not list((tmp_path / "out").iterdir())
    words += ["--identity", str(key_file(tmp_path, KEY))]
    assert command.run(build_parser().parse_args(words)) == 0
    assert len(list((tmp_path / "out").iterdir())) == 2
