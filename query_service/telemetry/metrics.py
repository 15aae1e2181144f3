"""The node's metrics in Prometheus' text exposition format 0.0.4. Pure. docs/metrics.md lists them all.

https://prometheus.io/docs/instrumenting/exposition_formats/. prometheus_client is not used: its import costs more
than rendering this page, and its registry and HTTP server are not needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, get_args

from msgspec import Struct

from edge import __version__
from edge.core.instant import Instant
from edge.core.values import HoleCause
from edge.messaging.events import ArchiverState, LevelMeasured, RecorderState
from query_service.queries.status import StatusAnswer

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_RECORDER_STATES = ("recording", "paused", "no_device", "disk_full", "stopped", "unknown")
_ARCHIVER_STATES = ("idle", "uploading", "blocked")
_CAUSES: tuple[str, ...] = tuple(cause for cause in get_args(HoleCause) if cause != "paused")


class NodeFacts(Struct, frozen=True, kw_only=True):
    """Current facts; a metric whose fact is None is left out."""

    node: str
    started_at: Instant  # this process
    resident_bytes: int | None = None  # of this process
    clock_synchronised: bool | None = None
    disk_bytes: int | None = None  # size of the spool's disk
    last_sound_at: Instant | None = None  # end of the sound on disk, including the chunk being written
    status: StatusAnswer | None = None
    recorder: RecorderState | None = None
    archiver: ArchiverState | None = None
    level: LevelMeasured | None = None
    online: Mapping[str, bool] = {}
    gap_seconds: Mapping[str, float] = {}  # by cause, since this process started
    archives: Mapping[str, int] = {}  # by event, since this process started
    uploaded_bytes: int = 0


class _Metric(NamedTuple):
    """`value`: one, or several by their `label`; those that are None are left out. Counters' names end in `_total`."""

    name: str
    help: str
    value: float | Mapping[str, float | None] | None
    label: str = ""


def render(facts: NodeFacts) -> str:
    """The whole page."""
    lines = [
        "# HELP imhearing_info The node's name and version; always 1.",
        "# TYPE imhearing_info gauge",
        f'imhearing_info{{node="{_escaped(facts.node)}",version="{_escaped(__version__)}"}} 1',
    ]
    for name, help_, value, label in _metrics(facts):
        values = value if isinstance(value, Mapping) else {"": value}
        known = {key: repr(float(each)).removesuffix(".0") for key, each in values.items() if each is not None}
        if known:
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {help_}", f"# TYPE {name} {kind}"]
            lines += [_labelled(name, label, key) + f" {number}" for key, number in known.items()]
    return "\n".join(lines) + "\n"


def _labelled(name: str, label: str, value: str) -> str:
    return f'{name}{{{label}="{_escaped(value)}"}}' if label else name


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _metrics(facts: NodeFacts) -> Iterator[_Metric]:
    services = dict(sorted(facts.online.items()))
    yield _Metric(
        "imhearing_service_online", "Whether a service is online, according to the broker.", services, "service"
    )
    yield from _of_recorder(facts)
    yield from _of_disk(facts)
    yield from _of_archiver(facts)
    if (level := facts.level) is not None:
        for name, help_, value in (
            ("laeq", "A-weighted equivalent level (LAeq) of the last second.", level.laeq),
            ("lafmax", "A-weighted fast maximum (LAFmax) of the last second.", level.lafmax),
            ("lcpeak", "C-weighted peak (LCpeak) of the last second.", level.lcpeak),
        ):
            yield _Metric(f"imhearing_sound_{name}_decibels", help_, {level.unit: value}, "unit")
    synchronised = facts.clock_synchronised
    yield _Metric("imhearing_clock_synchronised", "Whether the kernel reports the clock as synchronised.", synchronised)
    started = _seconds(facts.started_at)
    yield _Metric("process_start_time_seconds", "Start time of the query service, in seconds since 1970.", started)
    resident = facts.resident_bytes
    yield _Metric("process_resident_memory_bytes", "Resident memory of the query service, in bytes.", resident)


def _of_recorder(facts: NodeFacts) -> Iterator[_Metric]:
    status = facts.status
    state = status.recorder.state if status else facts.recorder.state if facts.recorder else "unknown"
    states = {each: each == state for each in _RECORDER_STATES}
    yield _Metric("imhearing_recorder_state", "State of the recorder: 1 for the current one, else 0.", states, "state")
    if status is not None:
        help_ = "Whether the recorder is alive: while recording, it wrote within the last ten seconds."
        yield _Metric("imhearing_recorder_alive", help_, status.recorder.alive)
    if status is not None and status.clock is not None:
        help_ = "Sample rate measured against the clock, in the last finished chunk."
        yield _Metric("imhearing_sample_rate_hertz", help_, status.clock.measured_rate)
        help_ = "Whether the times of sound recorded now may be corrected later."
        yield _Metric("imhearing_times_uncertain", help_, status.clock.uncertain)
    help_ = "End of the last sound on disk, in seconds since 1970."
    yield _Metric("imhearing_last_sound_timestamp_seconds", help_, _seconds(facts.last_sound_at))
    gaps = {cause: facts.gap_seconds.get(cause, 0) for cause in _CAUSES}
    help_ = "Missing sound by cause, since the query service started."
    yield _Metric("imhearing_gap_seconds_total", help_, gaps, "cause")


def _of_disk(facts: NodeFacts) -> Iterator[_Metric]:
    status = facts.status
    if status is not None and status.spool is not None:
        yield _Metric("imhearing_spool_chunks", "Finished chunks in the spool.", status.spool.chunks)
        yield _Metric("imhearing_spool_bytes", "Size of the finished chunks in the spool.", status.spool.bytes)
    if status is not None:
        yield _Metric("imhearing_disk_free_bytes", "Free space on the spool's disk.", status.disk_free)
        help_ = "How many listen live to what is being recorded."
        yield _Metric("imhearing_live_listeners", help_, status.listeners)
        yield _Metric("imhearing_catalog_ready", "Whether the catalog can be read.", status.catalog == "ready")
    yield _Metric("imhearing_disk_size_bytes", "Size of the spool's disk.", facts.disk_bytes)


def _of_archiver(facts: NodeFacts) -> Iterator[_Metric]:
    archiver = facts.archiver
    if archiver is not None:
        states = {each: each == archiver.state for each in _ARCHIVER_STATES}
        help_ = "State of the archiver: 1 for the current one, else 0."
        yield _Metric("imhearing_archiver_state", help_, states, "state")
        yield _Metric("imhearing_backlog_chunks", "Finished chunks not yet in the store.", archiver.backlog_chunks)
        help_ = "Size of the finished chunks not yet in the store."
        yield _Metric("imhearing_backlog_bytes", help_, archiver.backlog_bytes)
        left = None if archiver.disk_hours_left is None else archiver.disk_hours_left * 3_600
        yield _Metric("imhearing_disk_left_seconds", "Time until the disk is full if nothing more is uploaded.", left)
        help_ = "When an archive was last verified in the store, in seconds since 1970."
        yield _Metric("imhearing_last_archive_timestamp_seconds", help_, _seconds(archiver.last_archive_at))
        help_ = "Storage cost of this calendar month, in the currency of price_per_gb."
        yield _Metric("imhearing_month_cost", help_, archiver.month_cost)
    archives = {event: facts.archives.get(event, 0) for event in ("planned", "uploaded", "failed")}
    help_ = "Archives planned, uploaded or failed, since the query service started."
    yield _Metric("imhearing_archives_total", help_, archives, "event")
    help_ = "Bytes of archives uploaded, since the query service started."
    yield _Metric("imhearing_uploaded_bytes_total", help_, facts.uploaded_bytes)


def _seconds(moment: Instant | None) -> float | None:
    return None if moment is None else moment / 1e6
