"""From the microphone to a remote client's file, everything real: PyAudio, Mosquitto, S3, Pony, the Ably SDK."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edge.core.instant import Instant
from tests.support.nodes.running_node import RunningNode, running_node
from tests.support.recording.microphone import VirtualMicrophone, find_samples, virtual_microphone, write_noise
from tests.support.wait import wait_until

RATE = 48_000
SETTINGS = (
    "recorder.source=microphone",
    "recorder.record_period=5",
    "thresholds.records_count=3",
    "node.name=porch",
)


@pytest.fixture
def microphone() -> Iterator[VirtualMicrophone]:
    with virtual_microphone() as made:
        yield made


def recorded(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [interval for interval in answer["intervals"] if interval["state"] == "recorded"]


def assert_tiles(answer: dict[str, Any]) -> None:
    edges = [answer["from"], *(interval["to"] for interval in answer["intervals"])]
    assert [interval["from"] for interval in answer["intervals"]] == edges[:-1]
    assert edges[-1] == answer["to"]


def wait_for_archives(node: RunningNode, archives: int, chunks: int) -> dict[str, Any]:
    """Asks over Ably until so much has been archived."""

    def enough() -> dict[str, Any] | None:
        answer = node.query("--last", "3m", "--via", "ably")
        found = recorded(answer)
        return answer if len(found) >= chunks and len({i["where"]["archive"] for i in found}) >= archives else None

    return wait_until(enough, f"{chunks} chunks are in {archives} archives", 90)


def time_of(interval: dict[str, Any], fraction: float) -> str:
    begin, end = Instant.parse(interval["from"]), Instant.parse(interval["to"])
    return str(Instant(begin + int((end - begin) * fraction)))


def test_a_remote_client_receives_exactly_the_samples_that_were_played(
    tmp_path: Path, microphone: VirtualMicrophone
) -> None:
    played = write_noise(tmp_path / "noise.wav", 60, seed=7)
    data = tmp_path / "node"
    with running_node(data, *SETTINGS, environment=microphone.environment) as node:
        player = microphone.play(tmp_path / "noise.wav")
        answer = wait_for_archives(node, archives=2, chunks=6)
        assert_tiles(answer)
        for interval in recorded(answer):
            assert_bytes_are_the_chunk(data, answer, interval)

        inside = recorded(answer)[1:-1]
        first, last = inside[0], inside[-1]
        assert first["where"]["archive"] != last["where"]["archive"]
        target = tmp_path / "heard.wav"
        fetched = node.run(
            "fetch", "--from", time_of(first, 0.3), "--to", time_of(last, 0.6), "--via", "ably", "-o", str(target)
        )
        assert fetched.returncode == 0, fetched.stderr
        player.terminate()
        player.wait()
    assert node.process.returncode == 0
    heard, rate = soundfile.read(target, dtype="int16")
    assert rate == RATE
    frames = sum(interval["frames"] for interval in inside[1:-1])
    assert frames < len(heard) < frames + 10 * RATE
    position = find_samples(played, heard)
    assert position >= 0
    np.testing.assert_array_equal(heard, played[position : position + len(heard)])


def assert_bytes_are_the_chunk(data: Path, answer: dict[str, Any], interval: dict[str, Any]) -> None:
    """The folder behind the local store shows the object as it is: the bytes told are a FLAC file of that digest."""
    where = interval["where"]
    archive = answer["archives"][where["archive"]]
    assert archive["s3"] == f"s3://{archive['bucket']}/{archive['key']}"
    with (data / "store" / archive["bucket"] / archive["key"]).open("rb") as file:
        file.seek(where["offset"])
        audio = file.read(where["length"])
    assert hashlib.sha256(audio).hexdigest() == where["sha256"]
    assert audio[:4] == b"fLaC"


def kill_and_wait(node: RunningNode, role: str) -> None:
    """Kills one process as nothing can prevent, and waits until it has been started again."""

    def process() -> int | None:
        return node.processes().get(role)

    killed = wait_until(process, f"the {role} runs")
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: process() not in (None, killed), f"the {role} is back")


def test_killing_each_process_once_loses_no_finished_chunk(tmp_path: Path, microphone: VirtualMicrophone) -> None:
    played = write_noise(tmp_path / "noise.wav", 120, seed=8)
    data = tmp_path / "node"
    with running_node(data, *SETTINGS, environment=microphone.environment) as node:
        player = microphone.play(tmp_path / "noise.wav")
        wait_until(lambda: any(node.data.glob("spool/*.flac")), "a first chunk is finished")
        for role in ("broker", "store", "realtime", "archiver", "query-service", "recorder"):
            kill_and_wait(node, role)
        answer = wait_for_archives(node, archives=2, chunks=7)
        assert_tiles(answer)
        causes = {interval.get("cause") for interval in answer["intervals"] if interval["state"] == "gap"}
        assert "crash" in causes
        target = tmp_path / "chunk.flac"
        for interval in recorded(answer)[1:]:
            assert_bytes_are_the_chunk(data, answer, interval)
            fetched = node.run(
                "fetch", "--from", interval["from"], "--to", interval["to"], "--via", "ably", "-o", str(target)
            )
            assert fetched.returncode == 0, fetched.stderr
            heard, _ = soundfile.read(target, dtype="int16")
            position = find_samples(played, heard)
            assert position >= 0
            np.testing.assert_array_equal(heard, played[position : position + len(heard)])
        player.terminate()
        player.wait()
