"""A node's events, and the node as the screen of `imhearing up` shows it."""

from __future__ import annotations

from typing import Any

from commands.show.node_view import NodeView
from commands.up.display import NodeSnapshot
from commands.up.local_facts import LocalFacts
from edge.core.values import ClockStamp
from edge.messaging.events import (
    ArchiveChanged,
    ArchiverState,
    ChunkCompleted,
    Event,
    LevelMeasured,
    Progress,
    RecorderState,
    RecorderStatus,
    SoundHeard,
)
from tests.support.spool.chunks import START, STREAM

ARCHIVE = f"{STREAM}-000000-0123abcd"
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r"


def snapshot(width: int = 80, problems: int = 0, folder: str = "/tmp/try") -> NodeSnapshot:
    return NodeSnapshot(
        version="0.1.0",
        node="porch",
        started=START,
        notes=[f"data      {folder}", "broker    Mosquitto on 127.0.0.1:1883", "archives  x", "realtime  y"],
        commands=[
            ["mosquitto_sub", "-h", "127.0.0.1", "-p", "1883", "-v", "-t", "imhearing/#"],
            ["imhearing", "query", "--data", folder, "--last", "10m"],
            ["imhearing", "fetch", "--data", folder, "--last", "1m", "-o", "last.flac"],
        ],
        problems=[f"10:00:00 problem {number} " + "x" * 100 for number in range(problems)],
        facts=LocalFacts(last_until=START, waiting=3, waiting_bytes=1_234_567, archived=2, archives=1),
        broker=None,
        running=["broker"],
        expected=["broker", "store", "realtime-server", "recorder", "archiver", "query-service"],
        free_bytes=80_900_000_000,
        ends_in=None,
    )


def filled_view() -> NodeView:
    view = NodeView()
    for event in every_event():
        view.apply(event)
    return view


def every_event() -> list[Event]:
    head: dict[str, Any] = {"at": START, "node": "porch"}
    return [
        RecorderStatus(**head, state="online", instance="x", version="0.1.0"),
        RecorderState(**head, state="recording", since=START, device="synthetic scene"),
        LevelMeasured(**head, laeq=-42.0, lafmax=-38.5, lcpeak=-20.0, unit="dBFS", calibrated=False),
        ChunkCompleted(
            **head, chunk_id=f"{STREAM}-000000", stream_id=STREAM, seq=0, first_frame=0, frames=96_000, rate=48_000,
            channels=1, format="flac", bytes=90_000, sha256="0" * 64, crc32=1, started_at=START, ended_at=START,
            uncertain=False, clock=ClockStamp("x", 48_000.0),
        ),
        SoundHeard(
            **head, event="started", sound_id=f"{STREAM}-s5", lafmax=-20.0, laeq=-30.0, unit="dBFS", started_at=START
        ),
        ArchiverState(
            **head, state="uploading", backlog_chunks=3, backlog_bytes=1_234_567, disk_hours_left=100.0,
            reason="the link\nis down", progress=Progress(ARCHIVE, 5, 10, 1.0),
        ),
        ArchiveChanged(
            **head, event="uploaded", archive_id=ARCHIVE, bucket="b", key="k", bytes=5, sha256=None, chunks=2,
            started_at=START, ended_at=START,
        ),
    ]  # fmt: skip
