"""The broker is killed and its database deleted repeatedly while a node records: nothing is lost.

Fifty rounds:  IMHEARING_ROUNDS=50 pytest tests/campaigns/test_broker_kills.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

import imhearing
from edge.catalog import CatalogReader
from edge.core.instant import FIRST, LAST
from edge.messaging import topics
from edge.messaging.events import (
    ArchiverState,
    ArchiverStatus,
    Event,
    LimitsSet,
    RecorderState,
    RecorderStatus,
    SoundingChanged,
)
from edge.spool.spool import Spool
from tests.support.messaging.broker import RestartableBroker
from tests.support.messaging.mqtt import connected
from tests.support.wait import wait_until

ROUNDS = int(os.environ.get("IMHEARING_ROUNDS", "4"))
RATE = 16_000
RETAINED: dict[type[Event], bytes] = {
    RecorderStatus: b'"state":"online"',
    RecorderState: b'"state":"recording"',
    LimitsSet: b'"records_count":10',
    SoundingChanged: b'"sounding":false',
    ArchiverStatus: b'"state":"online"',
    ArchiverState: b'"state":',
}


@pytest.mark.slow
def test_killing_the_broker_and_deleting_its_database_loses_nothing(tmp_path: Path) -> None:
    sound = tmp_path / "noise.wav"
    seconds = ROUNDS * 5 + 15
    noise = np.random.default_rng(6).integers(-9_000, 9_000, RATE * seconds, dtype=np.int16)
    soundfile.write(sound, noise, RATE, subtype="PCM_16")
    broker = RestartableBroker(tmp_path / "broker")
    recorder, archiver = (_service(name, tmp_path, broker.port, sound) for name in ("recorder", "archiver"))
    try:
        _retained_is_right(broker.port)
        for _ in range(ROUNDS):
            broker.kill()
            broker.start()
            _retained_is_right(broker.port)
        with connected(broker.port) as client:
            client.subscribe("imhearing/porch/recorder/state")
            client.wait_for_message(
                "imhearing/porch/recorder/state", lambda heard: b'"stopped"' in heard.payload, timeout=seconds + 20
            )
        spool = Spool(tmp_path / "node" / "spool", "porch")
        assert np.array_equal(_recorded(spool), noise), "every sample, in order, once"
        reader = CatalogReader(tmp_path / "node" / "catalog.db")
        wait_until(
            lambda: len(reader.chunks_between(FIRST, LAST, 100_000)) >= len(spool.chunks.finished()), "all catalogued"
        )
        rows = Counter(row.chunk.chunk_id for row in reader.chunks_between(FIRST, LAST, 100_000))
        reader.close()
        assert set(rows) == set(spool.chunks.finished())
        assert set(rows.values()) == {1}
    finally:
        for process in (recorder, archiver):
            process.terminate()
            process.wait(20)
        broker.kill()


def _service(name: str, folder: Path, port: int, sound: Path) -> subprocess.Popen[bytes]:
    sets = [
        "node.name=porch", "mqtt.host=127.0.0.1", f"mqtt.port={port}", f"recorder.source={sound}", "recorder.pace=real",
        f"recorder.sample_rate={RATE}", "recorder.record_period=1", "s3.endpoint_url=http://127.0.0.1:9",
        "s3.s3_bucket_name=nowhere", "s3.access_key_id=x", "s3.secret_access_key=y",
    ]  # fmt: skip
    command = [sys.executable, imhearing.__file__, name, "--data", str(folder / "node")]
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [*command, *(part for each in sets for part in ("--set", each))], stdout=log, stderr=log
        )


def _retained_is_right(port: int) -> None:
    with connected(port) as client:
        client.subscribe("imhearing/#", "homeassistant/#")
        for event, wanted in RETAINED.items():
            topic = f"imhearing/porch/{event.TOPIC}"
            client.wait_for_message(topic, lambda heard, wanted=wanted: wanted in heard.payload, timeout=30)  # type: ignore[misc]
        client.wait_for_message(topics.discovery("porch"), timeout=30)
        # a connection that lasts two seconds makes the next one quick; there is a level each second
        wait_until(lambda: len(client.messages_on("imhearing/porch/recorder/level")) >= 3, "three levels")


def _recorded(spool: Spool) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    chunks = sorted(
        (spool.chunks.manifest(chunk_id) for chunk_id in spool.chunks.finished()), key=lambda chunk: chunk.started_at
    )
    return np.concatenate([soundfile.read(spool.layout.audio_path(chunk), dtype="int16")[0] for chunk in chunks])
