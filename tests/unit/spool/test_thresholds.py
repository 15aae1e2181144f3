"""Which limits are exceeded, and that a crossing is reported once."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.configuration.settings import Thresholds
from edge.core.errors import WireError
from edge.core.values import Metric
from edge.spool.thresholds import (
    METRICS,
    Crossing,
    Crossings,
    Excess,
    Limits,
    Measures,
    configured,
    exceeded,
    with_limit,
)

metrics = st.sampled_from(METRICS)
amounts = st.sampled_from([0.0, 1.0, 7.0, 10.0, 12.0, 13.0, 100.0])


def test_each_limit_has_its_direction_and_unit() -> None:
    limits = Limits(records_count=10, storage_usage=500, oldest_age=3600, sound_level=-40, disk_free=100)
    at_limit = Measures(records_count=10, storage_usage=500, oldest_age=3600, sound_level=-40, disk_free=100)
    assert [(excess.metric, excess.unit) for excess in exceeded(limits, at_limit)] == [
        ("records_count", "chunks"),
        ("storage_usage", "MB"),
        ("oldest_age", "s"),
        ("sound_level", "dBFS"),
    ]
    below = Measures(records_count=9, storage_usage=499.9, oldest_age=3599, sound_level=-40.1, disk_free=99.9)
    assert exceeded(limits, below) == (Excess("disk_free", 100, 99.9, "MB"),)
    calibrated = Measures(sound_level=71.5, level_unit="dBA")
    assert exceeded(Limits(sound_level=70), calibrated) == (Excess("sound_level", 70, 71.5, "dBA"),)


@given(st.fixed_dictionaries({metric: st.floats(-1e9, 1e9) for metric in METRICS}))
def test_a_limit_of_0_is_never_exceeded(values: dict[str, Any]) -> None:
    assert exceeded(Limits(), Measures(**values)) == ()
    assert Crossings().update(Limits(), Measures(**values)) == ()


def test_a_metric_without_a_value_exceeds_no_limit() -> None:
    limits = Limits(records_count=1, storage_usage=1, oldest_age=1, sound_level=-40, disk_free=1)
    assert exceeded(limits, Measures()) == ()
    assert exceeded(limits, Measures(sound_level=math.nan)) == ()


@given(metrics, st.lists(st.tuples(amounts, amounts | st.none()), max_size=30))
def test_crossings_alternate_and_agree_with_exceeded(metric: Metric, steps: list[tuple[float, float | None]]) -> None:
    crossings, over = Crossings(hysteresis=3.0), False
    for limit, value in steps:
        given_: dict[str, Any] = {metric: value}
        limits, measures = Limits(**{metric: limit}), Measures(**given_)
        found = crossings.update(limits, measures)
        assert len(found) <= 1
        if found:
            assert found[0].event == ("cleared" if over else "exceeded")
            over = not over
        now = bool(exceeded(limits, measures))
        if now:
            assert over
        if limit == 0:
            assert not over
        if metric != "sound_level" and value is not None:
            assert over == now


def test_each_crossing_causes_one_event() -> None:
    crossings, limits = Crossings(), Limits(records_count=3)
    found = [crossings.update(limits, Measures(records_count=count)) for count in (1, 3, 4, 9, 2, 2, 3)]
    assert found == [
        (),
        (Crossing("exceeded", "records_count", 3, 3, "chunks"),),
        (),
        (),
        (Crossing("cleared", "records_count", 3, 2, "chunks"),),
        (),
        (Crossing("exceeded", "records_count", 3, 3, "chunks"),),
    ]


def test_disk_free_is_exceeded_when_it_falls_below_its_limit() -> None:
    crossings, limits = Crossings(), Limits(disk_free=100)
    events = [[c.event for c in crossings.update(limits, Measures(disk_free=free))] for free in (101, 100, 99, 50, 100)]
    assert events == [[], [], ["exceeded"], [], ["cleared"]]


def test_sound_level_clears_below_its_hysteresis() -> None:
    crossings, limits = Crossings(hysteresis=3.0), Limits(sound_level=-40)
    levels = (-41.0, -40.0, -41.0, -43.0, -39.0, -43.1, -41.0, -40.0)
    events = [[c.event for c in crossings.update(limits, Measures(sound_level=level))] for level in levels]
    assert events == [[], ["exceeded"], [], [], [], ["cleared"], [], ["exceeded"]]


def test_a_removed_limit_clears_with_the_last_value() -> None:
    crossings = Crossings()
    crossings.update(Limits(storage_usage=5), Measures(storage_usage=8))
    assert crossings.update(Limits(), Measures()) == (Crossing("cleared", "storage_usage", 5, 8, "MB"),)
    assert crossings.update(Limits(), Measures()) == ()


def test_limits_come_from_the_configuration() -> None:
    assert configured(Thresholds(records_count=7, disk_free=250.0)) == Limits(records_count=7, disk_free=250.0)
    assert set(Limits.__struct_fields__) == set(Thresholds.__struct_fields__) == set(METRICS)


def test_setting_a_limit_leaves_the_others_unchanged() -> None:
    assert with_limit(Limits(records_count=4), "sound_level", -35) == Limits(records_count=4, sound_level=-35.0)


@pytest.mark.parametrize(
    ("metric", "limit", "field"),
    [
        ("loudness", 1.0, "metric"),
        ("__class__", 1.0, "metric"),
        ("records_count", -1.0, "limit"),
        ("oldest_age", math.inf, "limit"),
        ("disk_free", math.nan, "limit"),
        ("sound_level", 400.0, "limit"),
    ],
)
def test_an_invalid_limit_is_rejected_with_its_field(metric: str, limit: float, field: str) -> None:
    with pytest.raises(WireError) as refused:
        with_limit(Limits(), metric, limit)
    assert refused.value.field == field
