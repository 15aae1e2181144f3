"""The node's metrics in Prometheus' text exposition format 0.0.4. Pure. docs/metrics.md lists them all.

https://prometheus.io/docs/instrumenting/exposition_formats/. prometheus_client is not used: its import costs more
than rendering this page, and its registry and HTTP server are not needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, get_args

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


class _Sample(NamedTuple):
    value: float | None
    labels: Mapping[str, str] = {}


class _Metric(NamedTuple):
    name: str
    kind: Literal["gauge", "counter"]
    help: str
    samples: Iterable[_Sample]


def render(facts: NodeFacts) -> str:
    """The whole page."""
    lines: list[str] = []
    for metric in _metrics(facts):
        known = [sample for sample in metric.samples if sample.value is not None]
        if known:
            lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
            lines += [f"{metric.name}{_labels(sample.labels)} {_number(sample.value)}" for sample in known]
    return "\n".join(lines) + "\n"


def _metrics(facts: NodeFacts) -> Iterator[_Metric]:
    yield _Metric(
        "imhearing_info", "gauge", "The node's name and version; always 1.",
        [_Sample(1, {"node": facts.node, "version": __version__})],
    )  # fmt: skip
    yield _Metric(
        "imhearing_service_online", "gauge", "Whether a service is online, according to the broker.",
        [_Sample(online, {"service": name}) for name, online in sorted(facts.online.items())],
    )  # fmt: skip
    yield from _of_recorder(facts)
    yield from _of_disk(facts)
    yield from _of_archiver(facts)
    yield from _of_level(facts.level)
    yield _gauge("imhearing_clock_synchronised", "Whether the kernel reports the clock as synchronised.",
                 facts.clock_synchronised)  # fmt: skip
    yield _gauge(
        "process_start_time_seconds", "Start time of the query service, in seconds since 1970.", facts.started_at / 1e6
    )
    yield _gauge(
        "process_resident_memory_bytes", "Resident memory of the query service, in bytes.", facts.resident_bytes
    )


def _of_recorder(facts: NodeFacts) -> Iterator[_Metric]:
    status = facts.status
    state = status.recorder.state if status else facts.recorder.state if facts.recorder else "unknown"
    yield _one_of(
        "imhearing_recorder_state", "State of the recorder: 1 for the current one, else 0.", _RECORDER_STATES, state
    )
    if status is not None:
        yield _gauge("imhearing_recorder_alive",
                     "Whether the recorder is alive: while recording, it wrote within the last ten seconds.",
                     status.recorder.alive)  # fmt: skip
        rate = status.clock.measured_rate if status.clock else None
        yield _gauge(
            "imhearing_sample_rate_hertz", "Sample rate measured against the clock, in the last finished chunk.", rate
        )
        uncertain = status.clock.uncertain if status.clock else None
        yield _gauge("imhearing_times_uncertain", "Whether the times of sound recorded now may be corrected later.",
                     uncertain)  # fmt: skip
    last = None if facts.last_sound_at is None else facts.last_sound_at / 1e6
    yield _gauge(
        "imhearing_last_sound_timestamp_seconds", "End of the last sound on disk, in seconds since 1970.", last
    )
    yield _Metric(
        "imhearing_gap_seconds_total", "counter", "Missing sound by cause, since the query service started.",
        [_Sample(facts.gap_seconds.get(cause, 0), {"cause": cause}) for cause in _CAUSES],
    )  # fmt: skip


def _of_disk(facts: NodeFacts) -> Iterator[_Metric]:
    status = facts.status
    if status is not None:
        yield _gauge("imhearing_spool_chunks", "Finished chunks in the spool.", status.spool.chunks)
        yield _gauge("imhearing_spool_bytes", "Size of the finished chunks in the spool.", status.spool.bytes)
        yield _gauge("imhearing_disk_free_bytes", "Free space on the spool's disk.", status.disk_free)
        yield _gauge("imhearing_catalog_ready", "Whether the catalog can be read.", status.catalog == "ready")
    yield _gauge("imhearing_disk_size_bytes", "Size of the spool's disk.", facts.disk_bytes)


def _of_archiver(facts: NodeFacts) -> Iterator[_Metric]:
    archiver = facts.archiver
    if archiver is not None:
        yield _one_of("imhearing_archiver_state", "State of the archiver: 1 for the current one, else 0.",
                      _ARCHIVER_STATES, archiver.state)  # fmt: skip
        yield _gauge("imhearing_backlog_chunks", "Finished chunks not yet in the store.",
                     archiver.backlog_chunks)  # fmt: skip
        yield _gauge(
            "imhearing_backlog_bytes", "Size of the finished chunks not yet in the store.", archiver.backlog_bytes
        )
        left = None if archiver.disk_hours_left is None else archiver.disk_hours_left * 3_600
        yield _gauge("imhearing_disk_left_seconds", "Time until the disk is full if nothing more is uploaded.", left)
        last = None if archiver.last_archive_at is None else archiver.last_archive_at / 1e6
        yield _gauge("imhearing_last_archive_timestamp_seconds",
                     "When an archive was last verified in the store, in seconds since 1970.", last)  # fmt: skip
        yield _gauge("imhearing_month_cost", "Storage cost of this calendar month, in the currency of price_per_gb.",
                     archiver.month_cost)  # fmt: skip
    yield _Metric(
        "imhearing_archives_total", "counter", "Archives planned, uploaded or failed, since the query service started.",
        [_Sample(facts.archives.get(event, 0), {"event": event}) for event in ("planned", "uploaded", "failed")],
    )  # fmt: skip
    yield _Metric(
        "imhearing_uploaded_bytes_total", "counter", "Bytes of archives uploaded, since the query service started.",
        [_Sample(facts.uploaded_bytes)],
    )  # fmt: skip


def _of_level(level: LevelMeasured | None) -> Iterator[_Metric]:
    if level is None:
        return
    unit = {"unit": level.unit}
    for name, help_, value in (
        ("laeq", "A-weighted equivalent level (LAeq) of the last second.", level.laeq),
        ("lafmax", "A-weighted fast maximum (LAFmax) of the last second.", level.lafmax),
        ("lcpeak", "C-weighted peak (LCpeak) of the last second.", level.lcpeak),
    ):
        yield _Metric(f"imhearing_sound_{name}_decibels", "gauge", help_, [_Sample(value, unit)])


def _gauge(name: str, help_: str, value: float | None) -> _Metric:
    return _Metric(name, "gauge", help_, [_Sample(value)])


def _one_of(name: str, help_: str, states: Iterable[str], now: str) -> _Metric:
    return _Metric(name, "gauge", help_, [_Sample(state == now, {"state": state}) for state in states])


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float | None) -> str:
    return repr(float(value or 0)).removesuffix(".0")
