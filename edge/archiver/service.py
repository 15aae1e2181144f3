"""The archiver's process. Reads: the spool, `recorder/chunk`, `recorder/threshold`, `request/archive`.

Writes: the catalog, the object store, `archiver/*`; removes from the spool what the store has. Start-up is recovery:
whatever an earlier process left half done is found in catalog, spool and store, and finished.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import BinaryIO, Literal

from edge import __version__, identity, thresholds, wire
from edge.archiver import commands
from edge.archiver.archiver import Archiver
from edge.archiver.pace import Pace
from edge.archiver.plan import MEGABYTE, Limits, Target
from edge.archiver.storage import Storage
from edge.archiver.worker import Worker
from edge.catalog import Catalog
from edge.errors import ImHearingError, WireError
from edge.events import ROOT, ArchiverStatus, ChunkCompleted, ThresholdCrossed
from edge.instant import Instant
from edge.mqtt import Bus, Message
from edge.settings import Settings
from edge.spool import Spool

log = logging.getLogger(__name__)

_INBOX = 10_000  # notices that wait; the rescan finds what more there is
_PATIENCE = 1.5  # seconds that an upload gets to end by itself

Call = Callable[[], None]


def run(settings: Settings, stop: threading.Event, pace: Pace = Pace()) -> None:  # noqa: B008  frozen
    """Archives until `stop`, then ends within 3 s. Raises SpoolError, CatalogError when it cannot even begin."""
    node = settings.node.name
    spool = Spool(settings.recorder.record_path, node)
    spool.create()
    with contextlib.closing(Catalog(settings.catalog.db_path)) as catalog:
        catalog.open()
        instance = identity.instance(settings.catalog.db_path.parent)
        bus = Bus(settings.mqtt, f"{node}-archiver", instance, will=_status(node, instance, "offline"))
        inbox: queue.Queue[Call] = queue.Queue(_INBOX)
        worker = Worker(
            Storage(settings.s3), _opener(spool), stop, lambda outcome: inbox.put(lambda: archiver.finished(outcome))
        )
        archiver = Archiver(
            spool,
            catalog,
            worker,
            Target(settings.s3.s3_bucket_name, settings.s3.prefix, node),
            Limits(int(settings.archive.archive_max_mb * MEGABYTE), settings.archive.archive_max_chunks),
            _limits_in_force(settings),
            bus.publish,
            pace,
            inbox,
        )
        _listen(bus, node, archiver, inbox)
        _warn_without_limits(settings)
        bus.publish(_status(node, instance, "online"))
        bus.start()
        worker.start()
        try:
            archiver.run(stop)
        finally:
            worker.end(_PATIENCE)
            bus.stop(farewell=_status(node, instance, "offline"))


def _listen(bus: Bus, node: str, archiver: Archiver, inbox: queue.Queue[Call]) -> None:
    def enqueue(call: Call) -> None:
        # what does not fit is no loss: the rescan looks at the spool itself
        with contextlib.suppress(queue.Full):
            inbox.put_nowait(call)

    def chunk(message: Message) -> None:
        try:
            event = wire.decode(message.payload, ChunkCompleted)
        except WireError as problem:
            log.debug("not a chunk event: %s", problem)
            return
        enqueue(lambda: archiver.noticed(event.chunk_id))

    def archive(message: Message) -> None:
        if not message.retained:
            enqueue(lambda: _archive_now(bus, node, archiver, message))

    bus.subscribe(f"{ROOT}/{node}/{ChunkCompleted.TOPIC}", chunk)
    bus.subscribe(f"{ROOT}/{node}/{ThresholdCrossed.TOPIC}", lambda _: enqueue(archiver.look))
    bus.subscribe(f"{ROOT}/{node}/request/{commands.ArchiveNow.VERB}", archive)
    bus.on_connected(lambda: enqueue(archiver.look))


def _archive_now(bus: Bus, node: str, archiver: Archiver, message: Message) -> None:
    try:
        commands.read(message)
        archives, unplanned = archiver.archive_now()
    except ImHearingError as problem:
        commands.answer(bus, node, message, problem)
        return
    commands.answer(bus, node, message, {"archives": archives, "chunks_to_plan": unplanned})


def _opener(spool: Spool) -> Callable[[str], BinaryIO]:
    def open_member(name: str) -> BinaryIO:
        return (spool.path / name).open("rb")

    return open_member


def _limits_in_force(settings: Settings) -> Callable[[], thresholds.Limits]:
    """The configured limits, unless others were set at run time: the recorder keeps those in the spool."""
    configured = thresholds.configured(settings.thresholds)
    path = settings.recorder.record_path / "settings.json"

    def limits() -> thresholds.Limits:
        try:
            return wire.decode(path.read_bytes(), thresholds.Limits)
        except FileNotFoundError:
            return configured
        except (OSError, WireError) as problem:
            log.warning("%s: cannot be used (%s); the configured limits hold", path, problem)
            return configured

    return limits


def _warn_without_limits(settings: Settings) -> None:
    limits = thresholds.configured(settings.thresholds)
    archiving = (limits.records_count, limits.storage_usage, limits.oldest_age, limits.sound_level)
    if not any(archiving):
        log.warning("every limit in [thresholds] is 0: nothing is archived until `imhearing archive` asks for it")


def _status(node: str, instance: str, state: Literal["online", "offline"]) -> ArchiverStatus:
    now = Instant.from_seconds(time.time())
    return ArchiverStatus(at=now, node=node, state=state, instance=instance, version=__version__)
