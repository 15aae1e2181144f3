"""More that doctor must not pass: an incomplete catalog, an input gain of zero, a key with too few rights."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from commands.doctor import device
from commands.doctor.local_data import check_permissions
from commands.doctor.node_under_test import Finding
from edge.catalog import Catalog
from edge.catalog.tables import Tables
from edge.core.values import SpoolState
from edge.spool.spool import Spool
from query_service.realtime import tokens
from tests.support.breakable_node import BreakableNode
from tests.support.chunks import BOOT, START, STREAM, fill_spool, make_stream
from tests.support.realtime import server_in_thread
from tests.support.rights import not_as_root
from tests.support.s3 import RunningStore

CARD = "USB Audio: - (hw:1,0)"
FAKE_AMIXER = """#!/bin/sh
echo "amixer $*" >>"{folder}/asked"
[ "$1 $2" = "-c 1" ] || exit 1
case "$3" in
    scontents) cat "{folder}/levels" ;;
    sset) sed -i 's/Capture 0 \\[0%\\]/Capture 28 [80%]/; s/\\[off\\]/[on]/' "{folder}/levels" ;;
esac
"""
SPEAKER = """\
Simple mixer control 'Speaker',0
  Capabilities: pvolume pswitch
  Front Left: Playback 20 [54%] [-17.00dB] [on]
"""
MIC = """\
Simple mixer control 'Front Mic',0
  Capabilities: cvolume cvolume-joined cswitch cswitch-joined
  Limits: Capture 0 - 35
  Mono: {value}
"""


@pytest.fixture
def node() -> Iterator[BreakableNode]:
    with tempfile.TemporaryDirectory(prefix="imhearing-node-") as name:
        yield BreakableNode(Path(name))


# the catalog's schema


@pytest.fixture
def catalog(node: BreakableNode) -> Path:
    path = node.data / "catalog.db"
    with contextlib.closing(Catalog(path)) as made:
        made.open()
    return path


def run_sql(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def test_the_expected_tables_are_those_the_catalog_creates(catalog: Path) -> None:
    with contextlib.closing(sqlite3.connect(catalog)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        made = {name: {row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')} for name in tables}
    assert {name: set(columns) for name, columns in Tables.columns().items()} == {
        name: columns for name, columns in made.items() if not name.startswith("sqlite_")
    }


def test_an_intact_catalog_passes(node: BreakableNode, catalog: Path) -> None:
    found = node.run_checks("catalog")
    assert found["catalog.schema"].state == "ok"
    assert {finding.state for finding in found.values()} == {"ok"}


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("DROP TABLE archives", "table archives"),
        ("ALTER TABLE chunks DROP COLUMN lafmax", "column chunks.lafmax"),
    ],
)
def test_a_missing_table_or_column_is_a_fault(
    node: BreakableNode, catalog: Path, store: RunningStore, statement: str, missing: str
) -> None:
    node.set_store(store.settings)
    Spool(node.data / "spool", "porch").create()
    run_sql(catalog, statement)
    before = node.run_checks("catalog")["catalog.schema"]
    assert before.state == "fault"
    assert before.message.endswith(missing)
    assert node.apply_remedy(before).returncode == 0
    assert {finding.state for finding in node.run_checks("catalog").values()} == {"ok"}


def test_an_older_schema_is_a_warning_as_the_archiver_upgrades_it(node: BreakableNode, catalog: Path) -> None:
    for column in ("replaces", "gone", "deleted_at"):
        run_sql(catalog, f"ALTER TABLE archives DROP COLUMN {column}")
    run_sql(catalog, "PRAGMA user_version = 1")
    found = node.run_checks("catalog")
    assert "catalog.schema" not in found
    assert found["catalog.version"].state == "warning"


def test_a_catalog_owned_by_another_user_is_a_fault(node: BreakableNode, catalog: Path) -> None:
    """As after a command that somebody ran as root."""
    catalog.chmod(0o644)
    node.data.parent.chmod(0o755)
    for place in (catalog, catalog.parent):  # SQLite's journal needs the folder
        with not_as_root():
            before = check_permissions(catalog)
        assert (before.state, before.message) == ("fault", f"{place} is not writable")
        assert node.apply_remedy(before).returncode == 0
    with not_as_root():
        assert check_permissions(catalog).state == "ok"


# Ably


def test_an_ably_key_with_too_few_rights_is_a_fault(node: BreakableNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ably lets a token do what its key may and no more."""
    whole = tokens.capabilities_for_node

    def without_publish(node: str) -> dict[str, list[str]]:
        return {channel: can for channel, can in whole(node).items() if "publish" not in can}

    with server_in_thread() as server:
        node.set(f"ably.api_key={server.api_key.reveal()}", f"ably.endpoint={server.endpoint}")
        with monkeypatch.context() as patched:
            patched.setattr(tokens, "capabilities_for_node", without_publish)
            found = node.run_checks("realtime")
            assert found["realtime.connect"].state == "ok"
            before = found["realtime.rights"]
        assert before.state == "fault"
        advice, _, command = before.remedy.partition(": ")
        assert advice.startswith("give the key publish, subscribe and presence on imhearing:*")
        assert node.apply_remedy(replace(before, remedy=command), typed=f"{server.api_key.reveal()}\n").returncode == 0
        assert node.run_checks("realtime")["realtime.rights"].state == "ok"


# the input gain


@pytest.fixture
def mixer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A card number 1, whose `amixer scontents` is what the test says."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "amixer").write_text(FAKE_AMIXER.format(folder=tmp_path))
    (programs / "amixer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    def set_level(value: str) -> None:
        (tmp_path / "levels").write_text(SPEAKER + (MIC.format(value=value) if value else ""))

    return set_level


def gain_finding() -> Finding:
    (finding,) = device.check_gain(CARD)
    return finding


def test_the_input_gain_is_reported(mixer: Callable[[str], None]) -> None:
    mixer("Capture 25 [71%] [13.00dB] [on]")
    finding = gain_finding()
    assert (finding.check, finding.state) == ("device.gain", "ok")
    assert finding.message == "'Front Mic',0: gain 71 % (+13.0 dB)"


@pytest.mark.parametrize(
    ("value", "state", "fragment", "command", "after"),
    [
        ("Capture 25 [71%] [13.00dB] [off]", "fault", "switched off", "cap", "gain 71 % (+13.0 dB)"),
        ("Capture 0 [0%] [-12.00dB] [on]", "fault", "gain 0 %", "80% cap", "gain 80 %"),
        ("Capture 0 [0%]", "fault", "gain 0 %", "80% cap", "gain 80 %"),
        ("Capture 0 [0%] [-12.00dB] [off]", "fault", "switched off", "80% cap", "gain 80 %"),
        # the lowest of a card that only amplifies: quiet, not silent
        ("Capture 0 [0%] [0.00dB] [on]", "warning", "gain 0 %", "80% cap", "gain 80 %"),
    ],
)
def test_a_muted_or_zero_gain_is_reported_and_fixed(
    node: BreakableNode,
    mixer: Callable[[str], None],
    tmp_path: Path,
    value: str,
    state: str,
    fragment: str,
    command: str,
    after: str,
) -> None:
    mixer(value)
    before = gain_finding()
    assert (before.state, fragment in before.message) == (state, True)
    assert before.remedy == f"amixer -c 1 sset 'Front Mic,0' {command}"
    assert node.apply_remedy(before).returncode == 0
    assert f"amixer -c 1 sset Front Mic,0 {command}" in (tmp_path / "asked").read_text()
    assert (gain_finding().state, after in gain_finding().message) == ("ok", True)


def test_a_card_without_a_gain_control_has_no_finding(
    mixer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mixer("")
    assert list(device.check_gain(CARD)) == []
    assert list(device.check_gain("USB Audio: - (hw:2,0)")) == []  # amixer fails
    assert list(device.check_gain("no card at all")) == []
    mixer("Capture 0 [0%] [on]")
    monkeypatch.setenv("PATH", str(tmp_path))  # no amixer
    assert list(device.check_gain(CARD)) == []


def test_the_gain_is_checked_while_the_recorder_has_the_card(node: BreakableNode, mixer: Callable[[str], None]) -> None:
    """The usual case: the recorder has the card, which cannot be opened a second time."""
    mixer("Capture 25 [71%] [13.00dB] [off]")
    node.set("recorder.source=microphone", "recorder.device=not to be opened here")
    fill_spool(node.data / "spool", 1)
    spool = Spool(node.data / "spool", "porch")
    spool.streams.write(make_stream(device=CARD))
    spool.state.write(SpoolState(state="recording", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM))
    spool.layout.part_path(f"{STREAM}-000001", "flac").write_bytes(b"")
    with spool.recorder_lock.hold():
        found = node.run_checks("device")
    assert found["device.records"].state == "ok"
    assert found["device.gain"].state == "fault"
