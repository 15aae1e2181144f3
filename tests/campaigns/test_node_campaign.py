"""One short life of tests.campaigns.node, and whether its judge catches what we plant in a copy of it."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tests.campaigns.node.judging.facts import RATE, Facts, seconds_of
from tests.campaigns.node.judging.judge import judge
from tests.campaigns.node.life import live
from tests.campaigns.node.plan import Fault, LifeSettings, Plan

PROGRAMS = ("pulseaudio", "paplay", "parec", "setpriv", "mosquitto")
# what can go wrong at once, in little time: a gap, a pause, an order to forget, an upload whose answer is lost
PLAN = Plan(
    20,
    13.0,
    LifeSettings(record_period=1.0, records_count=2, archive_max_chunks=3),
    (
        Fault(4.0, "store", "reply_lost", 2.0, "0.5"),
        Fault(4.5, "kill", "recorder"),
        Fault(4.7, "kill", "archiver"),
        Fault(6.0, "stop", "query-service", 2.0),
        Fault(7.0, "forget", "", 0.0, "6.0 3.2"),
        Fault(7.2, "kill", "broker"),
        Fault(7.4, "hold", "", 0.0, "2.8 0.5"),
        Fault(8.0, "unreadable_disk", "", 1.0, "spool"),
        Fault(9.5, "pause", "", 1.0, "timed"),
        Fault(10.0, "ambush", "archiver", 3.0, "catalog.db-journal"),
        Fault(11.0, "rotate"),
        Fault(12.5, "hold", "", 0.0, "3.5 0.5"),  # on a slow machine the first may find no chunk
    ),
)
_MISSING = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(_MISSING), reason=f"needs {', '.join(_MISSING)}"),
]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("node") / "life"
    live(PLAN, folder)
    return folder


def test_a_node_under_many_faults_keeps_every_promise(life: Path) -> None:
    violations = [str(violation) for violation in judge(life)]
    assert violations == [], "\n".join(violations)  # all of them: the life is not kept
    injected = [event["kind"] for event in Facts(life).events()]
    assert {"kill", "stop", "forget", "pause"} <= set(injected)


def _change_answers(folder: Path, change: Callable[[dict[str, Any]], None], doors: tuple[str, ...] = ()) -> None:
    """The coverage as each door answers it, and after the rebuild; or of these doors only."""
    facts = json.loads((folder / "facts.json").read_bytes())
    answers = facts["answers"]["coverage"]
    for door in doors or answers:
        change(answers[door])
    if not doors:
        change(facts["rebuilt"]["coverage"])
    (folder / "facts.json").write_text(json.dumps(facts))


def _change_facts(folder: Path, **fields: Any) -> None:
    facts = json.loads((folder / "facts.json").read_bytes())
    (folder / "facts.json").write_text(json.dumps(facts | fields))


def _archive(folder: Path) -> Path:
    """One with a chunk in it."""
    return next(path for path in Facts(folder).archives if len(zipfile.ZipFile(path).namelist()) > 1)


def _rewrite(path: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Each member becomes what `change` returns, or goes."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            if (changed := change(name, data)) is not None:
                archive.writestr(name, changed)


def _gap(answer: dict[str, Any], cause: str) -> dict[str, Any]:
    found: dict[str, Any] = next(i for i in answer["intervals"] if cause in (i.get("cause"), i["state"]))
    return found


def chunk_dropped(folder: Path) -> None:
    left = [name for name in zipfile.ZipFile(_archive(folder)).namelist() if name != "manifest.json"]
    _rewrite(_archive(folder), lambda name, data: None if name == left[0] else data)


def sample_changed(folder: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        if name == "manifest.json":
            return data
        samples, rate = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
        samples[len(samples) // 2] += 1
        encoded = io.BytesIO()
        soundfile.write(encoded, samples, rate, format="FLAC", subtype="PCM_16")
        return encoded.getvalue()

    _rewrite(_archive(folder), change)


def sound_in_no_gap(folder: Path) -> None:
    """The gap of a crash is answered as if the next chunk had followed without one."""

    def change(answer: dict[str, Any]) -> None:
        crash = _gap(answer, "crash")
        after = answer["intervals"][answer["intervals"].index(crash) + 1]
        after["from"] = crash["from"]
        answer["intervals"].remove(crash)

    _change_answers(folder, change)


def gap_mislabelled(folder: Path) -> None:
    _change_answers(folder, lambda answer: _gap(answer, "crash").update(cause="overrun"))


def gap_in_sound(folder: Path) -> None:
    """An interval of sound is answered as paused, at a time when nobody paused."""

    def change(answer: dict[str, Any]) -> None:
        first = next(i for i in answer["intervals"] if i["state"] == "recorded")
        first["state"] = "paused"

    _change_answers(folder, change)


def moment_without_answer(folder: Path) -> None:
    def change(answer: dict[str, Any]) -> None:
        del answer["intervals"][2]

    _change_answers(folder, change)


def door_differs(folder: Path) -> None:
    _change_answers(folder, lambda answer: answer["intervals"][-1].update(state="gap", cause="unknown"), ("mqtt",))


def rebuild_differs(folder: Path) -> None:
    facts = json.loads((folder / "facts.json").read_bytes())
    intervals = facts["rebuilt"]["coverage"]["intervals"]
    intervals.remove(next(i for i in intervals if i["state"] == "recorded"))
    _change_facts(folder, rebuilt=facts["rebuilt"])


def kill_called_a_restart(folder: Path) -> None:
    _change_answers(folder, lambda answer: _gap(answer, "crash").update(cause="restart"))


def levels_left_in_a_manifest(folder: Path) -> None:
    facts = Facts(folder)
    erased = {i["chunk_id"] for i in facts.intervals if i.get("cause") == "erased"}
    name, chunk = next((name, chunk) for name, chunk in facts.descriptions if chunk["chunk_id"] in erased)
    path = next(path for path in facts.archives if path.stem == name)

    def change(member: str, data: bytes) -> bytes:
        if member != "manifest.json":
            return data
        manifest = json.loads(data)
        for described in manifest["chunks"]:
            if described["chunk_id"] == chunk["chunk_id"]:
                described["levels"] = {"lafmax": -20.0}
        return json.dumps(manifest).encode()

    _rewrite(path, change)


def copy_left_after_forget(folder: Path) -> None:
    """The sound of the forgotten range, encoded anew, lies in the spool."""
    facts = Facts(folder)
    order = facts.events("forget")[0]["effect"]
    erased = _gap(facts.life["answers"]["coverage"]["local"], "erased")
    place = next(
        n for n in range(0, len(facts.witness), RATE // 10) if abs(facts.utc(n) - seconds_of(order["from"]) - 0.5) < 0.2
    )
    path = folder / "left" / "spool" / f"{erased['chunk_id'][:-6]}999999.flac"
    soundfile.write(path, facts.witness[place : place + RATE], RATE, subtype="PCM_16")


def bytes_left_after_forget(folder: Path) -> None:
    chunks = [chunk for event in Facts(folder).events("forget") for chunk in event["effect"]["chunks"]]
    part = next(part for chunk in chunks for part in chunk["slices"])
    with (folder / "left" / "catalog.db.old").open("ab") as file:
        file.write(bytes.fromhex(part))


def held_chunk_gone(folder: Path) -> None:
    held = next(chunk for event in Facts(folder).events("hold") for chunk in event["effect"]["kept"])

    def change(answer: dict[str, Any]) -> None:
        for interval in answer["intervals"]:
            if interval.get("chunk_id") == held:
                interval.update(state="expired", cause="erased")

    _change_answers(folder, change)


def chunk_in_two_archives(folder: Path) -> None:
    path = _archive(folder)
    shutil.copy(path, path.with_name(f"{path.stem[:-8]}00000000.zip"))


def archive_truncated(folder: Path) -> None:
    data = _archive(folder).read_bytes()
    _archive(folder).write_bytes(data[:-100])


def archive_missing(folder: Path) -> None:
    _archive(folder).unlink()


def catalog_points_elsewhere(folder: Path) -> None:
    with sqlite3.connect(folder / "catalog.db") as connection:
        connection.execute('UPDATE "chunks" SET "offset" = "offset" + 1 WHERE "state" = \'stored\'')
    connection.close()


def traceback_in_a_log(folder: Path) -> None:
    with (folder / "logs" / "archiver.log").open("a") as log:
        log.write('Traceback (most recent call last):\n  File "x.py", line 1\nOSError: [Errno 5]\n')


def temporary_file_left(folder: Path) -> None:
    (folder / "left" / "holds.json.0a1b2c3d.tmp").touch()


def part_left_in_the_store(folder: Path) -> None:
    (folder / "store" / ".rclone_temp_put_1").touch()


def service_fails(folder: Path) -> None:
    _change_facts(folder, exit_codes={"archiver": 1})


PLANTED: dict[Callable[[Path], None], str] = {
    chunk_dropped: "every_sound_is_the_witness",
    sample_changed: "every_sound_is_the_witness",
    sound_in_no_gap: "missing_sound_is_a_gap",
    gap_mislabelled: "missing_sound_is_explained",
    gap_in_sound: "every_sound_is_answered",
    moment_without_answer: "answers_tile",
    door_differs: "doors_agree",
    rebuild_differs: "rebuild_answers_the_same",
    kill_called_a_restart: "missing_sound_is_explained",
    levels_left_in_a_manifest: "erased_is_not_described",
    copy_left_after_forget: "forgotten_is_nowhere",
    bytes_left_after_forget: "forgotten_is_nowhere",
    held_chunk_gone: "held_is_kept",
    chunk_in_two_archives: "every_chunk_once",
    archive_truncated: "archives_open",
    archive_missing: "catalog_matches_the_store",
    catalog_points_elsewhere: "catalog_matches_the_store",
    traceback_in_a_log: "no_traceback",
    temporary_file_left: "nothing_is_left_over",
    part_left_in_the_store: "nothing_is_left_over",
    service_fails: "it_comes_to_rest",
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_the_judge_catches_what_is_planted(life: Path, tmp_path: Path, plant: Callable[[Path], None]) -> None:
    folder = tmp_path / "life"
    # without the disk that was mounted there; hard links would change the original
    shutil.copytree(life, folder, ignore=shutil.ignore_patterns("node", "played.wav"))
    plant(folder)
    assert PLANTED[plant] in {violation.check for violation in judge(folder)}
