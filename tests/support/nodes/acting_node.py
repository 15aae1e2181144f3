"""A node whose owner can act: recorder, archiver and query service on a broker with the node's own access rules."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from edge.configuration.settings import S3, Http, Query, Secret, Settings, Thresholds
from edge.core.errors import SpoolError
from edge.recorder import service
from edge.spool.spool import spool_of
from query_service.doors.sessions import password_hash
from tests.support.archiver.running import running_archiver
from tests.support.messaging.own_broker import OwnBroker, running_own_broker
from tests.support.nodes.query_node import QueryNode, running_service
from tests.support.wait import DEADLINE, wait_until

KEY = "the key of the node"
OWNER_KEY = "the key of the owner"
PASSWORDS = {"owner": "correct horse", "viewer": "battery staple"}
HTTP = Http(
    owner_password=Secret(password_hash(PASSWORDS["owner"], OWNER_KEY)),
    viewer_password=Secret(password_hash(PASSWORDS["viewer"])),
)


class ActingNode(NamedTuple):
    """`settings`: of recorder and archiver; the query service has no key of the owner."""

    settings: Settings
    broker: OwnBroker
    sound: QueryNode

    def recorder_state(self) -> str:
        """What the recorder noted last; empty before it has."""
        try:
            state = spool_of(self.settings).state.read()
        except SpoolError:  # being replaced
            return ""
        return "" if state is None else state.state

    def wait_for_state(self, state: str) -> None:
        wait_until(lambda: self.recorder_state() == state, f"the recorder is {state}")


@contextlib.contextmanager
def acting_node(folder: Path, s3: S3, http: Http) -> Iterator[ActingNode]:
    """Ten seconds of sound, three of them in the store, and what is recorded from now on."""
    node = QueryNode(folder, chunks=10)
    node.archive(s3, sorted(node.audio)[:3])
    (folder / "spool" / "state.json").unlink()  # of a recorder that records: none does yet
    with running_own_broker() as broker:
        made = node.with_doors(mqtt=broker.settings, s3=s3)
        settings = replace(
            made,
            recorder=replace(made.recorder, source="synthetic", record_period=1.0),
            thresholds=Thresholds(records_count=0, storage_usage=0, oldest_age=0),
            http=replace(http, owner_key=Secret(OWNER_KEY)),
            query=Query(cursor_key=Secret(KEY)),
        )
        acting = ActingNode(settings, broker, node)
        with running_recorder(settings), running_archiver(settings), running_service(replace(settings, http=http)):
            acting.wait_for_state("recording")
            yield acting


@contextlib.contextmanager
def running_recorder(settings: Settings) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=service.run, args=(settings, stop), name="recorder", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(DEADLINE)
        assert not thread.is_alive(), "the recorder did not end"
