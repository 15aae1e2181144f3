"""One life of a node: it records a virtual microphone beside a witness, faults strike, it comes to rest.

What it leaves, all in one folder, is for the judge: see `facts.py` for what each file is.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests.campaigns.node.doors import LISTS, ask_everywhere, ask_locally
from tests.campaigns.node.faults.injectors import INJECTORS
from tests.campaigns.node.node import Node
from tests.campaigns.node.plan import Fault, Plan
from tests.campaigns.node.process import is_root
from tests.campaigns.node.witness import RATE, Witness, favour
from tests.support.messaging.mqtt import connected
from tests.support.recording.microphone import VirtualMicrophone, virtual_microphone
from tests.support.wait import wait_until

_DISK_BYTES = 60_000_000
_UNDECIDED = 3.0  # seconds before the end
_LONGEST_REST = 120.0  # seconds until a node that nobody disturbs has archived, erased and answered everything
_AFTERMATH = 120.0  # seconds of sound beyond the faults: recovery and the last commands take their time
_ARCHIVER_STATE = "imhearing/porch/archiver/state"
_LOUD, _QUIET = 6_000, 60  # amplitudes of the noise


def live(plan: Plan, folder: Path) -> None:
    """Runs one life in `folder`. Raises AssertionError if the node does not even start."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(plan.to_json())
    with contextlib.ExitStack() as stack:
        run = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imhearing-life-", dir=_tmpfs())))
        room = stack.enter_context(virtual_microphone(run))
        data = stack.enter_context(_own_disk(folder / "node"))
        node = Node(folder, data, run, plan, room.environment)
        witness = Witness(room, folder, plan.settings.channels)
        stack.callback(_stop_player, _play(room, folder, plan))
        began = time.time()
        try:
            node.start()
            events = _strike(node, plan)
            facts = _come_to_rest(node, plan, began)
        except BaseException:
            node.stop()
            raise
        finally:
            witness.stop()
        facts |= {"began": began, "events": events, "commands": node.commands}
        facts["starts"] = {name: process.starts for name, process in node.processes.items()}
        (folder / "facts.json").write_text(json.dumps(facts, indent=1))
        shutil.copytree(data, folder / "left", symlinks=True)
        shutil.copytree(node.tmpfs, folder / "left_tmpfs", symlinks=True)


def _strike(node: Node, plan: Plan) -> list[dict[str, Any]]:
    """Every fault in a thread of its own, at its time; returns what each did, in their order."""
    begin = time.monotonic()

    def strike(fault: Fault) -> dict[str, Any]:
        time.sleep(max(0.0, begin + fault.at - time.monotonic()))
        started = time.time()
        effect = INJECTORS[fault.kind](node, fault)
        event = {"kind": fault.kind, "target": fault.target, "value": fault.value}
        return event | {"began": started, "ended": time.time(), "effect": effect}

    with ThreadPoolExecutor(max(1, len(plan.faults))) as pool:
        events = list(pool.map(strike, plan.faults))
    time.sleep(max(0.0, begin + plan.seconds - time.monotonic()))
    return events


def _come_to_rest(node: Node, plan: Plan, began: float) -> dict[str, Any]:
    """Nothing disturbs the node any more; waits until all is archived and erased, then asks it everything."""
    node.set_clock(0.0)
    node.command("resume")
    facts: dict[str, Any] = {"problems": []}
    problems: list[str] = facts["problems"]
    _wait_for(problems, lambda: node.recorder_mode() == "recording", "the recorder records again")
    facts["undisturbed"] = time.time()
    if node.catalog_lost:
        facts["restored"] = _restore_catalog(node, problems)
    time.sleep(3)
    node.command("pause")
    _wait_for(problems, lambda: node.recorder_mode() == "paused", "the recorder pauses")
    facts["ended"] = time.time()
    start, end = _utc(began - 1), _utc(facts["ended"])
    _wait_for(problems, lambda: not list((node.data / "orders").glob("erase-*.json")), "all orders are carried out")
    if plan.settings.keep_remote:  # nothing expires between two of the answers that are compared
        node.command("hold", "--from", start, "--to", end)
    _wait_for(problems, lambda: node.command("archive").returncode == 0, "the archiver carries out a command")
    _wait_for(problems, lambda: _all_archived(node, start, end), "everything is archived")
    _wait_for(problems, lambda: _nothing_is_uploaded(node), "the archiver has nothing left to upload")
    facts["range"] = [start, end]
    verified = node.command("catalog", "verify", "--deep", "--json")
    facts["verify"] = {"code": verified.returncode, "output": verified.stdout + verified.stderr}
    node.processes["archiver"].stop()  # which decides about chunks whenever it can: answers are compared now
    facts["answers"] = ask_everywhere(node, start, end)
    facts |= _rebuild(node, start, end)
    facts["exit_codes"] = node.stop()
    return facts


def _restore_catalog(node: Node, problems: list[str]) -> str:
    """What the documentation says to do once a catalog was lost."""
    node.processes["archiver"].stop()
    done = node.command("catalog", "rebuild", "--json")
    if done.returncode != 0:
        problems.append(f"the lost catalog is not rebuilt: {done.stdout}{done.stderr}")
    node.processes["archiver"].start()
    return done.stdout


def _wait_for(problems: list[str], condition: Any, what: str) -> None:
    try:
        wait_until(condition, what, _LONGEST_REST)
    except AssertionError as problem:
        problems.append(str(problem))


def _all_archived(node: Node, start: str, end: str) -> bool:
    """With `keep = sounds`, the last chunks wait for a minute or two: a sound might have followed them."""
    answer = node.get("coverage", from_=start, to=end, limit="1000", urls="false")
    if answer is None:
        return False
    waiting = [i["to"] for i in answer["intervals"] if i["state"] in ("pending", "recording")]
    undecided = _UNDECIDED if node.life_settings.keep == "sounds" else 0.0
    limit = datetime.fromisoformat(end).timestamp() - undecided
    return all(datetime.fromisoformat(to).timestamp() > limit for to in waiting)


def _nothing_is_uploaded(node: Node) -> bool:
    done = node.command("archive", "--json")
    if done.returncode != 0 or json.loads(done.stdout)["archives"]:
        return False
    with connected(node.broker_port) as client:
        client.subscribe(_ARCHIVER_STATE)
        return bool(json.loads(client.wait_for_message(_ARCHIVER_STATE).payload)["state"] == "idle")


def _rebuild(node: Node, start: str, end: str) -> dict[str, Any]:
    """The catalog from bucket and spool alone, and what it answers."""
    shutil.copy(node.data / "catalog.db", node.folder / "catalog.db")
    done = node.command("catalog", "rebuild", "--json")
    answers = {kind: ask_locally(node, kind, start, end) for kind in LISTS}
    problem = next((answer for answer in answers.values() if isinstance(answer, str)), None)
    return {
        "rebuild": {"code": done.returncode, "output": done.stdout + done.stderr},
        "rebuilt": answers if problem is None else problem,
    }


def _play(room: VirtualMicrophone, folder: Path, plan: Plan) -> subprocess.Popen[bytes]:
    """Noise of which no two windows are equal, loud for 3 s of each 8 s."""
    frames = round((plan.seconds + _AFTERMATH) * RATE)
    dice = np.random.default_rng(plan.seed)
    loud = (np.arange(frames) // RATE) % 8 < 3
    noise = dice.integers(-_QUIET, _QUIET, (frames, plan.settings.channels), dtype=np.int16)
    noise[loud] = dice.integers(-_LOUD, _LOUD, (int(loud.sum()), plan.settings.channels), dtype=np.int16)
    soundfile.write(folder / "played.wav", noise, RATE, subtype="PCM_16")
    player = room.play(folder / "played.wav", holds=2_000)  # less runs dry on a busy machine
    favour(player.pid)
    return player


def _stop_player(player: subprocess.Popen[bytes]) -> None:
    player.terminate()
    player.wait()


@contextlib.contextmanager
def _own_disk(path: Path) -> Iterator[Path]:
    """A small disk for the node's data where we may mount one; else an ordinary folder."""
    path.mkdir(mode=0o700)
    if not is_root():
        yield path
        return
    options = f"size={_DISK_BYTES},mode=0700"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "imhearing-life", str(path)], check=False)
    try:
        yield path
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", str(path)], check=True)


def _tmpfs() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
