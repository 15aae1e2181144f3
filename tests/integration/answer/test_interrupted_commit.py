"""An archiver that was killed within a commit, and stays away: a reader who may not write answers from the spool."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import UNSET

from commands.up.plan import make_plan as make_up_plan
from edge.catalog.file import recover
from edge.configuration.loader import load
from edge.core.instant import Instant
from imhearing import main
from query_service.answer.node_answers import NodeAnswers
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.levels import LevelsAnswer
from query_service.queries.protocol import Answer, QueryName, Request
from query_service.queries.sounds import SoundsAnswer
from query_service.queries.status import StatusAnswer
from query_service.queries.values import ErrorAnswer
from tests.support.nodes.query_node import QueryNode, archive_first
from tests.support.privileges import folder_of_an_ordinary_user, without_root_privileges
from tests.support.spool.chunks import START
from tests.support.wait import DEADLINE

SECOND = 1_000_000
ROOT = Path(__file__).parents[3]
COMMIT = """
import sys
from pathlib import Path
from edge.catalog import Catalog
from edge.spool.spool import Spool
folder = Path(sys.argv[1])
Catalog(folder / "catalog.db").registration.add_chunks([Spool(folder / "spool", "porch").chunks.manifest(sys.argv[2])])
"""


def kill_within_commit(folder: Path, chunk_id: str) -> None:
    """Registers a chunk in a process that is killed as it removes the journal: all is written, nothing is committed."""
    journal = folder / "catalog.db-journal"
    inject = ("strace", "-f", "-qq", "-o", os.devnull, "-P", str(journal), "-e", "inject=unlink:signal=SIGKILL:when=1")
    done = subprocess.run(
        [*inject, sys.executable, "-c", COMMIT, str(folder), chunk_id], cwd=ROOT, timeout=DEADLINE, check=False
    )
    assert done.returncode != 0
    assert journal.stat().st_size


@contextlib.contextmanager
def read_only(folder: Path, closed: Path | None = None) -> Iterator[None]:
    """For everybody but root; `closed` cannot even be read."""
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0 if path == closed else 0o555 if path.is_dir() else 0o444)
    try:
        with without_root_privileges():
            yield
    finally:
        for path, mode in modes.items():
            with contextlib.suppress(FileNotFoundError):
                path.chmod(mode)


@pytest.fixture
def node() -> Iterator[QueryNode]:
    """Chunk 0 is in the store alone, 1 and 2 wait, 3 and 4 are in the spool alone: to register 3 was interrupted."""
    with folder_of_an_ordinary_user() as folder:
        node = QueryNode(folder)
        ids = sorted(node.audio)
        archive_first(node)
        node.spool.chunks.remove(ids[0])
        kill_within_commit(folder, ids[3])
        yield node


def ask(node: QueryNode, *names: QueryName, between: Callable[[], object] = lambda: None) -> list[Answer]:
    """What one query service answers; `between` happens before its last answer."""

    async def answers() -> list[Answer]:
        door, found = NodeAnswers(node.settings), list[Answer]()
        end = Instant(START + 5 * SECOND)
        try:
            for number, name in enumerate(names, 1):
                if number == len(names):
                    between()
                request = Request(id=name, type=name, from_=START, to=end, urls=False)
                found.append(await door.query(Request(id=name, type=name) if name == "status" else request))
        finally:
            await door.close()
        return found

    return asyncio.run(answers())


def states(answer: Answer) -> list[str]:
    assert isinstance(answer, CoverageAnswer), answer
    return [str(interval.__struct_config__.tag) for interval in answer.intervals]


def test_every_question_is_answered_from_the_spool_and_says_what_is_missing(node: QueryNode) -> None:
    with read_only(node.spool.path.parent):
        coverage, sounds, levels, status, again = ask(node, "coverage", "sounds", "levels", "status", "coverage")
    assert states(coverage) == states(again) == ["gap", "pending", "pending", "pending", "pending"]
    assert isinstance(coverage, CoverageAnswer)
    assert isinstance(sounds, SoundsAnswer), sounds
    assert isinstance(levels, LevelsAnswer), levels
    assert isinstance(status, StatusAnswer), status
    assert {answer.incomplete for answer in (coverage, sounds, levels, status)} == {"catalog"}
    assert sum(step.seconds for step in levels.levels) == 4
    assert status.catalog == "busy"
    assert status.spool is not None
    assert (status.spool.chunks, status.spool.unknown_to_catalog) == (4, None)


def test_no_clip_is_made_of_what_may_be_a_part(node: QueryNode) -> None:
    with read_only(node.spool.path.parent):
        [clip] = ask(node, "clip")
    assert isinstance(clip, ErrorAnswer)
    assert clip.error.code == "busy"


def test_without_the_spool_too_a_question_is_put_off(node: QueryNode) -> None:
    with read_only(node.spool.path.parent, closed=node.spool.path):
        [answer] = ask(node, "coverage")
    assert isinstance(answer, ErrorAnswer)
    assert answer.error.code == "busy"


def test_once_the_commit_is_undone_the_same_service_answers_completely(node: QueryNode) -> None:
    def undo() -> None:
        with without_reading():
            assert recover(node.settings.catalog.db_path)

    @contextlib.contextmanager
    def without_reading() -> Iterator[None]:
        before = os.geteuid()
        os.seteuid(os.getuid())
        try:
            yield
        finally:
            os.seteuid(before)

    with read_only(node.spool.path.parent):
        if os.getuid() != 0:
            pytest.skip("needs a second user")
        before, after = ask(node, "coverage", "coverage", between=undo)
    assert states(before)[0] == "gap"
    assert states(after) == ["recorded", "pending", "pending", "pending", "pending"]
    assert isinstance(after, CoverageAnswer)
    assert after.incomplete is UNSET


def test_up_undoes_it_once_its_archiver_has_died(node: QueryNode) -> None:
    folder = node.spool.path.parent
    configured = [
        "mqtt.host=broker.example.org", "s3.s3_bucket_name=sounds", "ably.api_key=app.key:secret", "http.port=8480",
        "query.cursor_key=0123456789abcdef", "node.name=porch",
    ]  # fmt: skip
    plan = make_up_plan(folder, load(folder, overrides=configured, environ={}))
    journal = folder / "catalog.db-journal"
    cleaned_by = []
    for service in plan.services:
        before = journal.exists()
        service.clean_up()
        if before and not journal.exists():
            cleaned_by.append(service.name)
    assert cleaned_by == ["archiver"]


def test_the_command_undoes_it_and_says_so(node: QueryNode, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["catalog", "recover", "--data", str(node.spool.path.parent), "--set", "node.name=porch"]
    assert main(arguments) == 0
    assert "an interrupted commit was undone" in capsys.readouterr().err
    assert main([*arguments, "--json"]) == 0
    assert capsys.readouterr().out.strip() == '{"undone":false}'
