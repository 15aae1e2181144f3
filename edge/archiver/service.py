"""The archiver's process. Reads: the spool, `recorder/chunk`, `recorder/threshold`, its commands.

Writes: the catalog, the object store, `archiver/*`; removes from the spool what the store has. Start-up is recovery:
what an earlier process left unfinished is found in catalog, spool and store, and completed.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

from msgspec.structs import replace

from edge import __version__
from edge.archiver.archiver import Archiver
from edge.archiver.commands import ArchiverCommands
from edge.archiver.intake import Intake
from edge.archiver.jobs import JobResult
from edge.archiver.pacing import Pacing, RetryTimer, Timer
from edge.archiver.plan.allowance import Allowance
from edge.archiver.plan.plan import MEGABYTE, ArchiveLimits, Destination
from edge.archiver.plan.read_back import ReadBackPolicy
from edge.archiver.planner import Planner
from edge.archiver.reporter import Reporter
from edge.archiver.retention.age_check import AgeCheck
from edge.archiver.retention.deletions import Deletions
from edge.archiver.retention.expiry import Expiry
from edge.archiver.retention.policy import RetentionPolicy
from edge.archiver.retention.retention import Retention
from edge.archiver.upload.sending import RateLimiter
from edge.archiver.upload.upload import Uploader
from edge.archiver.upload.uploads import Uploads
from edge.archiver.worker import Worker
from edge.catalog import Catalog
from edge.catalog.erasures import remove_abandoned_beside
from edge.configuration.settings import Settings
from edge.core import reference_cycles as garbage
from edge.core.errors import CatalogDamaged, CatalogError, ConfigError
from edge.core.instance import load_instance_id
from edge.core.kernel_clock import KernelClock
from edge.core.systemd import Heartbeat
from edge.messaging.bus import Bus
from edge.messaging.command_server import CommandServer, Handler
from edge.messaging.commands import ArchiveNow, ChangeHolds, Command, Forget
from edge.messaging.events import ArchiverStatus, ChunkCompleted, Event, ThresholdCrossed
from edge.messaging.name_guard import NameGuard
from edge.messaging.owner_proof import proof_check
from edge.spool import limits, thresholds
from edge.spool.spool import Spool, spool_of
from edge.store.interface import NO_BUCKET
from edge.store.s3 import S3Store

log = logging.getLogger(__name__)

_INBOX = 10_000  # waiting notices; the rescan finds the rest
_STOP_TIMEOUT = 1.5  # seconds that an upload gets to end by itself

Call = Callable[[], None]


def run(
    settings: Settings,
    stop: threading.Event,
    pacing: Pacing = Pacing(),  # noqa: B008  frozen
    read_settings: Callable[[], Settings] | None = None,
) -> None:
    """Archives until `stop`, then ends within 3 s. Raises SpoolError or CatalogError when it cannot start.

    While uploading is blocked, `read_settings` gives the settings as they are now: those of the store and of the budget
    are then used without a restart.
    """
    newest = _NewestSettings(settings, read_settings)
    while not stop.is_set():
        try:
            _run(newest.settings, stop, pacing, newest.have_changed)
        except CatalogDamaged as problem:
            _set_aside(settings.catalog.db_path, problem)


class _NewestSettings:
    """`settings`, with those of the store and of the budget as `have_changed` found them last."""

    def __init__(self, settings: Settings, read: Callable[[], Settings] | None) -> None:
        self.settings, self._read = settings, read

    def have_changed(self) -> bool:
        try:
            now = self._read() if self._read is not None else self.settings
        except ConfigError:  # being edited
            return False
        before, self.settings = self.settings, replace(self.settings, s3=now.s3, budget=now.budget)
        if self.settings != before:
            log.info("the settings in [s3] or [budget] have changed; using the new ones")
        return self.settings != before


def _set_aside(path: Path, damage: CatalogDamaged) -> None:
    """Makes room for a new catalog: it soon has what the spool holds; `imhearing catalog rebuild` restores the rest."""
    aside = path.with_name(f"{path.name}.damaged-{KernelClock().now().datetime():%Y%m%dT%H%M%SZ}")
    try:
        for ending in ("", "-journal"):
            file = path.with_name(path.name + ending)
            if file.exists():
                file.replace(aside.with_name(aside.name + ending))
    except OSError as problem:
        raise CatalogError(
            f"{path}: is damaged and cannot be moved away ({problem.strerror}); move it by hand"
        ) from None
    log.error("%s; moved it to %s; `imhearing catalog rebuild` restores what the store has", damage, aside.name)


def _run(settings: Settings, stop: threading.Event, pacing: Pacing, settings_changed: Callable[[], bool]) -> None:
    node = settings.node.name
    spool = spool_of(settings)
    spool.create()
    with contextlib.closing(Catalog(settings.catalog.db_path)) as catalog:
        catalog.open()
        remove_abandoned_beside(settings.catalog.db_path)
        instance = load_instance_id(settings.catalog.db_path.parent)
        bus = Bus(settings.mqtt, node, "archiver", will=_status(node, instance, "offline"))
        inbox: queue.Queue[Call] = queue.Queue(_INBOX)

        def deliver(result: JobResult) -> None:
            inbox.put(lambda: archiver.on_job_result(result))
            garbage.free_reference_cycles()  # what the job left

        def open_member(name: str) -> BinaryIO:
            return (spool.path / name).open("rb")

        def show_life() -> None:
            worker.show_life()

        clock, heartbeat, rate = KernelClock(), Heartbeat(), settings.archive.max_rate * MEGABYTE
        limiter = RateLimiter(rate, stop, clock, show_life) if rate else None
        store = S3Store(settings.s3, pace=limiter, now=clock.now)
        deletions = Deletions(spool, catalog, store, AgeCheck(settings.archive.keep_remote, clock))
        uploader = Uploader(store, open_member, stop, read_back=ReadBackPolicy.parse(settings.s3.read_back))
        worker = Worker(uploader, deletions, deliver, clock)
        archiver = assemble(
            settings, spool, catalog, worker, deletions, bus.publish, pacing, heartbeat, clock, settings_changed
        )
        enqueue = _subscribe(bus, archiver, inbox)
        handlers = command_handlers(ArchiverCommands(archiver, catalog, clock))
        CommandServer(bus, node, handlers, proof_check(settings.http.owner_key.reveal()), enqueue)
        _warn_without_limits(settings)
        if not settings.s3.s3_bucket_name:
            log.warning("%s", NO_BUCKET)
        online = _status(node, instance, "online")
        NameGuard(bus, online)
        bus.publish(online)
        bus.start()
        worker.start()
        try:
            archiver.run(inbox, stop, heartbeat.beat)
        finally:
            if stop.is_set():  # else it goes on with another catalog or other settings
                heartbeat.stopping()
            worker.end(_STOP_TIMEOUT)
            bus.stop(farewell=_status(node, instance, "offline"))


def assemble(
    settings: Settings,
    spool: Spool,
    catalog: Catalog,
    worker: Worker,
    deletions: Deletions,
    publish: Callable[[Event], None],
    pacing: Pacing,
    heartbeat: Heartbeat,
    clock: KernelClock,
    settings_changed: Callable[[], bool] = lambda: False,
) -> Archiver:
    """The archiver and its collaborators."""
    destination = Destination(settings.s3.s3_bucket_name, settings.s3.prefix, spool.node, spool.names[1:])
    archive_limits = ArchiveLimits(int(settings.archive.archive_max_mb * MEGABYTE), settings.archive.archive_max_chunks)
    configured = thresholds.configured(settings.thresholds)

    def active_limits() -> thresholds.Limits:
        return limits.active(spool.path, configured)

    allowance = Allowance(settings, catalog, clock)
    reporter = Reporter(spool, catalog, publish, pacing.report, allowance.month_cost, heartbeat, clock)
    intake = Intake(spool, catalog)
    policy = RetentionPolicy(
        spool,
        catalog,
        deletions,
        settings.archive,
        settings.recorder,
        lambda: active_limits().sound_level,
        worker.uploading,
    )
    retry = RetryTimer(pacing, clock)
    expiry = Expiry(catalog, deletions, AgeCheck(settings.archive.keep_remote, clock), clock)
    retention = Retention(spool, catalog, deletions, policy, expiry, destination, intake.rescan, retry, clock)
    planner = Planner(catalog, destination, archive_limits, active_limits, policy, reporter, clock)
    on_uploaded = retention.cleanup.on_uploaded
    uploads = Uploads(catalog, destination, planner, reporter, allowance.obstacle, on_uploaded, pacing, clock)
    return Archiver(intake, planner, uploads, retention, worker, reporter, pacing, Timer(clock), settings_changed)


def _subscribe(bus: Bus, archiver: Archiver, inbox: queue.Queue[Call]) -> Callable[[Call], bool]:
    """What the archiver hears, and what it then does, in its own thread. A notice that finds no room is no loss.

    Returns what puts a call there, and says whether there was room.
    """

    def enqueue(call: Call) -> bool:
        try:
            inbox.put_nowait(call)
        except queue.Full:
            return False
        return True

    bus.subscribe(ChunkCompleted, lambda chunk, _: enqueue(partial(archiver.on_chunk_completed, chunk.chunk_id)))
    bus.subscribe(ThresholdCrossed, lambda *_: enqueue(archiver.request_rescan))
    bus.on_subscribed(lambda: enqueue(archiver.request_rescan))
    return enqueue


def command_handlers(commands: ArchiverCommands) -> dict[type[Command], Handler]:
    """Who carries out which command."""
    return {ArchiveNow: commands.archive_now, ChangeHolds: commands.hold, Forget: commands.forget}


def _warn_without_limits(settings: Settings) -> None:
    chosen = settings.thresholds
    archiving = (chosen.records_count, chosen.storage_usage, chosen.oldest_age, chosen.sound_level)
    if not any(archiving):
        log.warning("every limit in [thresholds] is 0: nothing is archived until you run `imhearing archive`")


def _status(node: str, instance: str, state: Literal["online", "offline"]) -> ArchiverStatus:
    now = KernelClock().now()
    return ArchiverStatus(at=now, node=node, state=state, instance=instance, version=__version__)
