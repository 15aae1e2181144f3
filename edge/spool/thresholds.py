"""Which limits are exceeded, and when one is crossed. Pure, and the same for the recorder and the archiver.

A limit of 0 is ignored. `records_count`, `storage_usage`, `oldest_age` and `sound_level` are exceeded at the limit or
above it, `disk_free` below it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct
from msgspec.structs import asdict, replace

from edge.configuration.settings import Thresholds
from edge.core.errors import WireError
from edge.core.values import LevelUnit, Metric

MB = 1_000_000  # bytes
METRICS: tuple[Metric, ...] = get_args(Metric)
_UNITS: dict[Metric, str] = {"records_count": "chunks", "storage_usage": "MB", "oldest_age": "s", "disk_free": "MB"}

_Amount = Annotated[float, Meta(ge=0, le=1e12)]


class Limits(Struct, frozen=True, kw_only=True):
    """The active thresholds; 0: ignored."""

    records_count: _Amount = 0.0  # finished chunks that wait
    storage_usage: _Amount = 0.0  # MB that they take
    oldest_age: _Amount = 0.0  # seconds since the oldest of them ended
    sound_level: Annotated[float, Meta(ge=-200, le=200)] = 0.0  # dBFS or dBA, fast
    disk_free: _Amount = 0.0  # MB left where the spool is

    def value(self, metric: Metric) -> float:
        return float(getattr(self, metric))


class Measures(Struct, frozen=True, kw_only=True):
    """What is compared with the limits, in their units; None: not known now."""

    records_count: float | None = None
    storage_usage: float | None = None
    oldest_age: float | None = None
    sound_level: float | None = None
    disk_free: float | None = None
    level_unit: LevelUnit = "dBFS"

    def value(self, metric: Metric) -> float | None:
        value: float | None = getattr(self, metric)
        return value

    def unit(self, metric: Metric) -> str:
        return self.level_unit if metric == "sound_level" else _UNITS[metric]


class Excess(Struct, frozen=True):
    """A limit, and the value that exceeds it."""

    metric: Metric
    limit: float
    value: float
    unit: str


class Crossing(Struct, frozen=True):
    """A limit was crossed: the fields of `edge.messaging.events.ThresholdCrossed`."""

    event: Literal["exceeded", "cleared"]
    metric: Metric
    limit: float
    value: float
    unit: str


def configured(thresholds: Thresholds) -> Limits:
    """The limits that the configuration sets."""
    return Limits(**asdict(thresholds))


def exceeded(limits: Limits, measures: Measures) -> tuple[Excess, ...]:
    """Every limit that is exceeded now."""
    found = []
    for metric in METRICS:
        limit, value = limits.value(metric), measures.value(metric)
        if limit and value is not None and _over(metric, limit, value):
            found.append(Excess(metric, limit, value, measures.unit(metric)))
    return tuple(found)


def with_limit(limits: Limits, metric: str, limit: float) -> Limits:
    """`limits` with one changed, as by a `set` command. WireError names the wrong field, `metric` or `limit`."""
    if metric not in METRICS:
        raise WireError(f"metric: expected one of: {', '.join(METRICS)}", "metric")
    low, high = (-200.0, 200.0) if metric == "sound_level" else (0.0, 1e12)
    if not math.isfinite(limit) or not low <= limit <= high:
        raise WireError(f"limit: expected {low:g} to {high:g} for {metric}; 0 ignores it", "limit")
    return replace(limits, **{metric: float(limit)})


class Crossings:
    """Finds each crossing once: `exceeded`, and `cleared` once the limit is no longer exceeded.

    `sound_level` clears only below the limit less `hysteresis` (dB), so that a level that hovers around the limit does
    not cross it again and again. A limit set to 0, or beyond the measure, clears too.
    """

    def __init__(
        self,
        hysteresis: float = 3.0,
        over: Mapping[Metric, tuple[float, float]] = {},
        metrics: Sequence[Metric] = METRICS,
    ) -> None:
        """`over`: that of an earlier life, to continue from. `metrics`: those that are judged."""
        self._hysteresis, self._metrics = hysteresis, metrics
        self._over: dict[Metric, tuple[float, float]] = dict(over)  # limit and value when last seen over

    @property
    def over(self) -> dict[Metric, tuple[float, float]]:
        """Limit and value of each metric that is exceeded."""
        return dict(self._over)

    def update(self, limits: Limits, measures: Measures) -> tuple[Crossing, ...]:
        """The crossings since the last call. A measure that is None leaves its metric as it was."""
        judged = [self._judge(metric, limits.value(metric), measures) for metric in self._metrics]
        return tuple([crossing for crossing in judged if crossing is not None])

    def _judge(self, metric: Metric, limit: float, measures: Measures) -> Crossing | None:
        value, unit, before = measures.value(metric), measures.unit(metric), self._over.get(metric)
        if before and not limit:
            del self._over[metric]
            return Crossing("cleared", metric, before[0], before[1] if value is None else value, unit)
        if value is None or not limit:
            return None
        if before is None:
            if not _over(metric, limit, value):
                return None
            self._over[metric] = (limit, value)
            return Crossing("exceeded", metric, limit, value, unit)
        slack = self._hysteresis if metric == "sound_level" else 0.0
        if _over(metric, limit - slack, value):
            self._over[metric] = (limit, value)
            return None
        del self._over[metric]
        return Crossing("cleared", metric, limit, value, unit)


def _over(metric: Metric, limit: float, value: float) -> bool:
    return value < limit if metric == "disk_free" else value >= limit
