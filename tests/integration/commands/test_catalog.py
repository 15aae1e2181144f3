"""`imhearing catalog`, `hold` and `forget` as people call them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.up.plan import UpState
from edge.catalog import Catalog
from edge.catalog.holds import change_holds
from edge.configuration.loader import to_ini
from edge.configuration.settings import Settings
from edge.core import wire
from edge.core.instant import LAST, Instant
from edge.embedded import ports
from edge.embedded.servers import BUCKET
from edge.spool.spool import Spool
from edge.store.s3 import S3Store
from query_service.answer.node_answers import NodeAnswers
from query_service.queries.protocol import Request
from tests.support.archiver.running import erase, rows_by_number, running_archiver, settings_without_broker, wait_stored
from tests.support.spool.chunks import START, fill_spool, make_chunk
from tests.support.store.s3 import RunningStore, running_store
from tests.support.wait import DEADLINE

KEY = ("local0123456789abcd", "s" * 40)


@pytest.fixture(scope="module")
def archived_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine chunks in the store, one of them erased, and three in the spool alone. Copied for each test."""
    folder = tmp_path_factory.mktemp("archived")
    with running_store(folder / "store") as store:
        settings = settings_without_broker(folder / "node", store.settings)
        fill_spool(settings.recorder.record_path, 9)
        with running_archiver(settings):
            wait_stored(settings, 9)
            erase(settings, 4, 5)
    fill_spool(settings.recorder.record_path, 3, first=9)
    return folder


@pytest.fixture
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def store(store_folder: Path) -> Iterator[RunningStore]:
    with running_store(store_folder) as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, store: RunningStore) -> Settings:
    return settings_without_broker(tmp_path, store.settings)


@pytest.fixture
def archived(archived_once: Path, tmp_path: Path, store_folder: Path, settings: Settings) -> Settings:
    """As `archived_once`, with a configuration."""
    shutil.copytree(archived_once / "node", tmp_path, dirs_exist_ok=True)
    shutil.copytree(archived_once / "store", store_folder, dirs_exist_ok=True)
    config = tmp_path / "config.ini"
    config.write_text(to_ini(settings, "of a test"))
    config.chmod(0o600)
    return settings


def imhearing(data: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "imhearing", *words, "--data", str(data)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE, check=False, stdin=subprocess.DEVNULL
    )


def answers(settings: Settings) -> list[bytes]:
    """To a hundred random questions."""

    async def ask() -> list[bytes]:
        dice, door = random.Random(11), NodeAnswers(settings)
        found = []
        for number in range(100):
            start = Instant(dice.randrange(START - 5_000_000, START + 15_000_000))
            end = Instant(start + dice.randrange(1, 20_000_000))
            kind = dice.choice(("coverage", "sounds", "levels"))
            request = Request(id=f"{number:016x}", type=kind, from_=start, to=end, urls=False)  # type: ignore[arg-type]
            found.append(wire.encode(await door.query(request)))
        await door.close()
        return found

    return asyncio.run(ask())


def test_a_rebuilt_catalog_gives_the_same_answers(tmp_path: Path, archived: Settings) -> None:
    with contextlib.closing(Catalog(archived.catalog.db_path)) as catalog:
        spool = Spool(archived.recorder.record_path, "porch")
        catalog.registration.add_chunks(spool.chunks.manifest(chunk_id) for chunk_id in sorted(spool.chunks.finished()))
    before, expected = rows_by_number(archived), answers(archived)
    assert imhearing(tmp_path, "catalog", "verify", "--deep").returncode == 0
    archived.catalog.db_path.unlink()
    done = imhearing(tmp_path, "catalog", "rebuild")
    assert done.returncode == 0, done.stderr
    assert "8 chunks in 3 archives, 3 in the spool" in done.stderr
    assert rows_by_number(archived) == before
    assert answers(archived) == expected
    assert len(set(expected)) > 90
    assert imhearing(tmp_path, "catalog", "verify", "--deep").returncode == 0


def test_a_damaged_catalog_is_replaced_with_its_journal(tmp_path: Path, archived: Settings) -> None:
    path = archived.catalog.db_path
    path.write_bytes(b"not a database" * 1_000)
    path.with_name("catalog.db-journal").write_bytes(b"nor a journal")
    assert imhearing(tmp_path, "catalog", "rebuild").returncode == 0
    assert len(rows_by_number(archived)) == 12
    assert path.with_name("catalog.db.old").read_bytes().startswith(b"not a database")
    assert not path.with_name("catalog.db-journal").exists()
    assert not list(tmp_path.glob("*.rebuilding*"))


def test_rebuild_is_refused_while_the_archiver_is_running(tmp_path: Path, archived: Settings) -> None:
    with running_archiver(archived):
        wait_stored(archived, 11)
        done = imhearing(tmp_path, "catalog", "rebuild")
    assert done.returncode == 1
    assert "stop it" in done.stderr
    assert len(rows_by_number(archived)) == 12


def test_a_rebuild_without_the_store_leaves_the_catalog_unchanged(
    tmp_path: Path, archived: Settings, store: RunningStore
) -> None:
    before = rows_by_number(archived)
    done = imhearing(tmp_path, "catalog", "rebuild", "--set", "s3.endpoint_url=http://127.0.0.1:1")
    assert done.returncode == 1
    assert "is unchanged" in done.stderr
    assert rows_by_number(archived) == before


def test_a_key_unknown_to_the_store_is_reported(tmp_path: Path, archived: Settings) -> None:
    done = imhearing(tmp_path, "catalog", "rebuild", "--set", "s3.access_key_id=another")
    assert done.returncode == 1
    assert "check [s3] access_key_id" in done.stderr
    assert "is unchanged" in done.stderr
    assert "Traceback" not in done.stderr


def test_rebuild_starts_the_local_store_while_up_is_stopped(tmp_path: Path) -> None:
    fill_spool(tmp_path / "spool", 3)
    port = ports.choose(None)
    (tmp_path / "up.json").write_bytes(wire.encode(UpState(store_port=port, store_key_id=KEY[0], store_secret=KEY[1])))
    sets = (
        "node.name=porch", f"s3.s3_bucket_name={BUCKET}", f"s3.endpoint_url=http://127.0.0.1:{port}",
        f"s3.access_key_id={KEY[0]}", f"s3.secret_access_key={KEY[1]}",
    )  # fmt: skip
    done = imhearing(tmp_path, "catalog", "rebuild", *(word for one in sets for word in ("--set", one)))
    assert done.returncode == 0, done.stderr
    assert "0 chunks in 0 archives, 3 in the spool" in done.stderr
    assert ports.is_free(port)


def test_verify_reports_differences(tmp_path: Path, archived: Settings, store: RunningStore) -> None:
    S3Store(archived.s3).delete(sorted(key for key, _ in S3Store(archived.s3).keys("imhearing/"))[0])
    done = imhearing(tmp_path, "catalog", "verify", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["ok"] is False
    assert "is missing in the store" in str(found["findings"])


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (0, 1, "1 chunk with sound from .* to .*; 1 archive would be rewritten:"),
        (5, 6, "1 chunk .*; 1 archive would be rewritten:"),  # beside one that was erased
        (3, 4, "1 chunk .*; 1 archive would be rewritten:"),
        (3, 6, "2 chunks .*; 1 archive would be emptied:"),
        (2, 9, "6 chunks .*; 2 archives would be emptied, 1 rewritten:"),
        (0, 2, "2 chunks with sound from .* to .*; 1 archive would be rewritten:"),
        (0, 3, "3 chunks with sound from .* to .*; 1 archive would be emptied:"),
        (0, 4, "4 chunks .*; 1 archive would be emptied, 1 rewritten:"),
        (0, 9, "8 chunks .*; 3 archives would be emptied:"),
        (-9, -5, "the catalog has no sound in this range; any that it does not list yet would be erased"),
    ],
)
def test_forget_lists_what_would_be_erased(
    tmp_path: Path, archived: Settings, first: int, last: int, expected: str
) -> None:
    start, end = (Instant(START + second * 1_000_000) for second in (first, last))
    done = imhearing(tmp_path, "forget", "--from", str(start), "--to", str(end))
    assert re.fullmatch(expected, done.stderr.splitlines()[0])


def test_chunks_not_archived_yet_affect_no_archive(tmp_path: Path, settings: Settings) -> None:
    with contextlib.closing(Catalog(settings.catalog.db_path)) as catalog:
        catalog.registration.add_chunks([make_chunk(0), make_chunk(1)])
    Spool(settings.recorder.record_path, "porch").create()
    done = imhearing(tmp_path, "forget", "--from", str(START), "--to", str(Instant(START + 1_500_000)))
    assert re.fullmatch("2 chunks with sound from .* to .*; not archived yet:", done.stderr.splitlines()[0])


def test_a_range_whose_chunks_are_on_hold_beside_it_cannot_be_forgotten(tmp_path: Path, archived: Settings) -> None:
    held = (Instant(START + 1_200_000), Instant(START + 1_400_000))
    change_holds(archived.catalog.db_path, lambda holds: holds.added(*held))
    beside = ("--from", str(Instant(START + 500_000)), "--to", str(Instant(START + 1_100_000)))
    refused = imhearing(tmp_path, "forget", *beside, "--yes", "--timeout", "0.3")
    assert refused.returncode == 1
    assert f"the hold from {held[0]} to {held[1]}" in refused.stderr
    assert "imhearing hold --release" in refused.stderr
    assert not list(tmp_path.rglob("erase-*.json"))


def test_a_range_on_hold_cannot_be_forgotten(tmp_path: Path, archived: Settings) -> None:
    span = ("--from", str(START), "--to", str(Instant(START + 1_000_000)))
    assert "2026-03-03" in imhearing(tmp_path, "hold", *span, "--utc").stdout
    refused = imhearing(tmp_path, "forget", *span, "--yes")
    assert (refused.returncode, "on hold" in refused.stderr) == (1, True)
    assert imhearing(tmp_path, "hold", *span, "--release").returncode == 0
    assert imhearing(tmp_path, "forget", *span).returncode == 2  # nobody to ask
    waiting = imhearing(tmp_path, "forget", *span, "--yes", "--timeout", "0.3")
    assert (waiting.returncode, "not done yet" in waiting.stderr) == (1, True)
    with running_archiver(archived):
        again = imhearing(tmp_path, "forget", *span, "--yes", "--timeout", "20")
    assert again.returncode == 0, again.stderr
    assert "erased: 1 chunk\n" in again.stderr
    assert rows_by_number(archived)[0].gone == "erased"
    assert imhearing(tmp_path, "forget", "--from", str(START), "--to", str(LAST), "--yes").returncode == 2
