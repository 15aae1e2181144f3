"""The node in numbers, for Prometheus: text exposition format 0.0.4. Pure. docs/metrics.md has every name.

https://prometheus.io/docs/instrumenting/exposition_formats/. Written here in place of prometheus_client, whose import
costs more than this whole page, for its registry and its HTTP server, neither of which is wanted.
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
    """What is known now; None where it is not, and then the metric is left out."""

    node: str
    started_at: Instant  # this process
    resident_bytes: int | None = None  # of this process
    clock_synchronised: bool | None = None
    disk_bytes: int | None = None  # the spool's disk, whole
    last_sound_at: Instant | None = None  # the end of what is on disk, the chunk being written included
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
        told = [sample for sample in metric.samples if sample.value is not None]
        if told:
            lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
            lines += [f"{metric.name}{_labels(sample.labels)} {_number(sample.value)}" for sample in told]
    return "\n".join(lines) + "\n"


def _metrics(facts: NodeFacts) -> Iterator[_Metric]:
    yield _Metric(
        "imhearing_info", "gauge", "The node's name and version; always 1.",
        [_Sample(1, {"node": facts.node, "version": __version__})],
    )  # fmt: skip
    yield _Metric(
        "imhearing_service_online", "gauge", "Whether a service runs, as the broker knows it.",
        [_Sample(online, {"service": name}) for name, online in sorted(facts.online.items())],
    )  # fmt: skip
    yield from _of_recorder(facts)
    yield from _of_disk(facts)
    yield from _of_archiver(facts)
    yield from _of_level(facts.level)
    yield _gauge("imhearing_clock_synchronised", "Whether the kernel calls the clock synchronised.",
                 facts.clock_synchronised)  # fmt: skip
    yield _gauge("process_start_time_seconds", "When the query service started, since 1970.", facts.started_at / 1e6)
    yield _gauge("process_resident_memory_bytes", "Resident memory of the query service.", facts.resident_bytes)


def _of_recorder(facts: NodeFacts) -> Iterator[_Metric]:
    status = facts.status
    state = status.recorder.state if status else facts.recorder.state if facts.recorder else "unknown"
    yield _one_of("imhearing_recorder_state", "What the recorder is doing: 1 for one of them.", _RECORDER_STATES, state)
    if status is not None:
        yield _gauge("imhearing_recorder_alive", "Whether the recorder wrote within the last ten seconds, or waits.",
                     status.recorder.alive)  # fmt: skip
        rate = status.clock.measured_rate if status.clock else None
        yield _gauge("imhearing_sample_rate_hertz", "The sound card's rate against the clock, of the last chunk.", rate)
        uncertain = status.clock.uncertain if status.clock else None
        yield _gauge("imhearing_times_uncertain", "Whether what is recorded now has times that may be corrected.",
                     uncertain)  # fmt: skip
    last = None if facts.last_sound_at is None else facts.last_sound_at / 1e6
    yield _gauge("imhearing_last_sound_timestamp_seconds", "End of the last sound on disk, since 1970.", last)
    yield _Metric(
        "imhearing_gap_seconds_total", "counter", "Sound missing by cause, since the query service started.",
        [_Sample(facts.gap_seconds.get(cause, 0), {"cause": cause}) for cause in _CAUSES],
    )  # fmt: skip


def _of_disk(facts: NodeFacts) -> Iterator[_Metric]:
    status = facts.status
    if status is not None:
        yield _gauge("imhearing_spool_chunks", "Finished chunks in the spool.", status.spool.chunks)
        yield _gauge("imhearing_spool_bytes", "Room that they take.", status.spool.bytes)
        yield _gauge("imhearing_disk_free_bytes", "Room left on the spool's disk.", status.disk_free)
        yield _gauge("imhearing_catalog_ready", "Whether the catalog can be read.", status.catalog == "ready")
    yield _gauge("imhearing_disk_size_bytes", "Size of the spool's disk.", facts.disk_bytes)


def _of_archiver(facts: NodeFacts) -> Iterator[_Metric]:
    archiver = facts.archiver
    if archiver is not None:
        yield _one_of("imhearing_archiver_state", "What the archiver is doing: 1 for one of them.",
                      _ARCHIVER_STATES, archiver.state)  # fmt: skip
        yield _gauge("imhearing_backlog_chunks", "Finished chunks that are not in the store yet.",
                     archiver.backlog_chunks)  # fmt: skip
        yield _gauge("imhearing_backlog_bytes", "Room that they take.", archiver.backlog_bytes)
        left = None if archiver.disk_hours_left is None else archiver.disk_hours_left * 3_600
        yield _gauge("imhearing_disk_left_seconds", "Until the disk is full if nothing were uploaded.", left)
        last = None if archiver.last_archive_at is None else archiver.last_archive_at / 1e6
        yield _gauge("imhearing_last_archive_timestamp_seconds", "When an archive was last verified in the store.",
                     last)  # fmt: skip
        yield _gauge("imhearing_month_cost", "Storage of this calendar month, in the currency of price_per_gb.",
                     archiver.month_cost)  # fmt: skip
    yield _Metric(
        "imhearing_archives_total", "counter", "Archives by what became of them, since the query service started.",
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
        ("laeq", "A-weighted level of the last second.", level.laeq),
        ("lafmax", "Loudest fast A-weighted level of the last second.", level.lafmax),
        ("lcpeak", "C-weighted peak of the last second.", level.lcpeak),
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
