"""The flow in docs/node-red-flow.json, in a real Node-RED, with a real recorder, query service, broker and store."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from edge.core import wire
from edge.core.instant import MICROSECONDS
from edge.embedded import ports
from edge.messaging.events import SoundHeard
from tests.support.messaging.broker import BrokerAddress
from tests.support.node_packages import MISSING, node_with_packages
from tests.support.nodes.sounding_node import sounding_node
from tests.support.store.s3 import RunningStore
from tests.support.wait import wait_until

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[1] / "node-red"
DOCS = Path(__file__).parents[2] / "docs"
FLOW = DOCS / "node-red-flow.json"
_STARTED = 120.0  # seconds


@pytest.fixture(scope="module")
def node_js() -> str:
    """Node.js, with Node-RED installed beside this test; without Node.js the test is skipped, except in CI."""
    node = node_with_packages(FOLDER)
    if node is None:
        pytest.skip(MISSING)
    return node


def entered(broker: BrokerAddress, sounds: Path) -> str:
    """The flow with what the page says to enter: the broker, and the folder for the files."""
    text = FLOW.read_text(encoding="utf-8")
    for documented, ours in {
        '"broker": "homeassistant.local", "port": "1883"': f'"broker": "{broker.host}", "port": "{broker.port}"',
        "const folder = '/tmp/imhearing';": f"const folder = '{sounds}';",
    }.items():
        assert text.count(documented) == 1
        text = text.replace(documented, ours)
    return text


@contextlib.contextmanager
def running_node_red(node_js: str, folder: Path, flow: str) -> Iterator[Path]:
    """Runs the flow, and gives Node-RED's log."""
    folder.mkdir()
    (folder / "flow.json").write_text(flow)
    settings = {
        "uiHost": "127.0.0.1", "uiPort": ports.choose(None),
        "telemetry": {"enabled": False, "updateNotification": False}, "diagnostics": {"enabled": False},
    }  # fmt: skip
    (folder / "settings.js").write_text(f"module.exports = {json.dumps(settings)};")
    program, log = FOLDER / "node_modules" / "node-red" / "red.js", folder / "log"
    command: list[str | Path] = [
        node_js,
        program,
        "--userDir",
        folder,
        "--settings",
        folder / "settings.js",
        folder / "flow.json",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env={"PATH": os.environ["PATH"], "HOME": str(folder)}, stdout=output, stderr=output
        )
    try:
        wait_until(
            lambda: "Connected to broker" in log.read_text() or process.poll() is not None,
            "Node-RED is connected",
            _STARTED,
        )
        assert process.poll() is None, log.read_text()
        yield log
    finally:
        process.terminate()
        process.wait(60)


def test_the_flow_shows_a_sound_at_its_end_and_saves_it_once_its_chunk_is_finished(
    node_js: str, broker: BrokerAddress, store: RunningStore, tmp_path: Path
) -> None:
    sounds = tmp_path / "sounds"
    with sounding_node(broker, tmp_path / "node", 2, store.settings) as client:
        with running_node_red(node_js, tmp_path / "node-red", entered(broker, sounds)) as log:
            saved = wait_until(lambda: sorted(sounds.glob("porch-*.flac")), "a sound is saved", _STARTED)[0]
            wait_until(lambda: _shown(log), "a sound is shown")
        heard = [wire.decode(each.payload, SoundHeard) for each in client.messages_on("imhearing/porch/recorder/sound")]
    ended = {(str(each.started_at), str(each.ended_at)): each for each in heard if each.event == "ended"}
    for level, start, end in _shown(log):
        assert ended[start, end].lafmax == float(level)
    with soundfile.SoundFile(saved) as file:  # the clip's whole seconds around it
        seconds = file.frames / file.samplerate
    assert any((each.ended_at - each.started_at) / MICROSECONDS <= seconds for each in ended.values() if each.ended_at)
    assert seconds < 60
    assert "[warn]" not in log.read_text().partition("Started flows")[2]
    assert "[error]" not in log.read_text()


def _shown(log: Path) -> list[tuple[str, str, str]]:
    """Level, start and end of each sound that the debug node showed."""
    found: list[tuple[str, str, str]] = re.findall(r"porch: (-?[\d.]+) dBFS, (\S+Z) to (\S+)", log.read_text())
    return found


def test_the_page_names_the_tested_version() -> None:
    locked = json.loads((FOLDER / "package-lock.json").read_text())["packages"]["node_modules/node-red"]["version"]
    assert f"Tested with Node-RED {locked} on" in (DOCS / "node-red.md").read_text(encoding="utf-8")
