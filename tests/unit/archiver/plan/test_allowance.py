"""What the store costs in a month, and when uploading is allowed."""

from __future__ import annotations

from datetime import datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.archiver.plan.allowance import Allowance
from edge.archiver.plan.budget import Window, month_cost, month_of
from edge.configuration.settings import S3, Archive, Budget, Settings
from edge.core.errors import StoreBlocked
from edge.core.instant import Instant
from tests.support.kernel_clock import NOON, ManualClock

GB = 1_000_000_000
MIDDLE = Instant.parse("2026-06-16T00:00:00Z")
times = st.times()


def test_the_budget_month_is_a_calendar_month() -> None:
    first, following = month_of(Instant.parse("2026-12-31T23:59:59.999999Z"))
    assert (str(first), str(following)) == ("2026-12-01T00:00:00.000000Z", "2027-01-01T00:00:00.000000Z")
    assert month_of(first) == (first, following)


@pytest.mark.parametrize(
    ("since", "cost"),
    [
        ("2025-01-01T00:00:00Z", 4.0),  # all of the month
        ("2026-06-01T00:00:00Z", 4.0),
        ("2026-06-16T00:00:00Z", 2.0),  # half of it
        ("2026-07-01T00:00:00Z", 0.0),
    ],
)
def test_storage_costs_are_proportional_to_the_time_stored(since: str, cost: float) -> None:
    assert month_cost([(2 * GB, Instant.parse(since))], MIDDLE, 2.0) == pytest.approx(cost)


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, MIDDLE))), st.floats(0, 10))
def test_the_monthly_cost_is_the_sum_of_its_items(kept: list[tuple[int, int]], price: float) -> None:
    items = [(size, Instant(since)) for size, since in kept]
    assert month_cost(items, MIDDLE, price) == pytest.approx(sum(month_cost([item], MIDDLE, price) for item in items))


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("22:00-06:00", ["22:00", "23:59", "00:00", "05:59"], ["06:00", "12:00", "21:59"]),
        ("01:30-02:00", ["01:30", "01:59"], ["02:00", "01:29", "00:00"]),
    ],
)
def test_an_upload_window_includes_its_start_and_excludes_its_end(
    text: str, inside: list[str], outside: list[str]
) -> None:
    window = Window.parse(text)
    assert window is not None
    assert all(window.is_open(time.fromisoformat(moment)) for moment in inside)
    assert not any(window.is_open(time.fromisoformat(moment)) for moment in outside)
    assert str(window) == text


@given(times, times, times)
def test_an_upload_window_and_its_complement_never_overlap(since: time, until: time, now: time) -> None:
    if since != until:
        assert Window(since, until).is_open(now) != Window(until, since).is_open(now)


@pytest.mark.parametrize("text", ["22-6", "22:00", "25:00-06:00", "22:00-06:00 "])
def test_an_invalid_upload_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"22:00|hour"):
        Window.parse(text)


class _Archives:
    """A catalog with 10 GB in the store since long ago, and 4 GB uploaded this month and deleted again."""

    def kept_bytes(self, month: Instant) -> list[tuple[int, Instant]]:
        return [(10 * GB, month)]

    def uploaded_since(self, moment: Instant) -> list[tuple[str, int]]:
        return [(f"imhearing/porch/{number}.zip", GB // 250) for number in range(1_000)]


class _Catalog:
    archive_records = _Archives()


def _allowance(budget: Budget, window: str = "", read_back: str = "always") -> Allowance:
    clock = ManualClock()
    clock.step_by((MIDDLE - NOON) / 1e6)
    settings = Settings(budget=budget, archive=Archive(upload_window=window), s3=S3(read_back=read_back))
    return Allowance(settings, _Catalog(), clock)  # type: ignore[arg-type]


def test_an_upload_that_would_exceed_the_budget_is_blocked(caplog: pytest.LogCaptureFixture) -> None:
    assert _allowance(Budget(price_per_gb=1, budget_cost=0)).obstacle(GB) is None
    assert _allowance(Budget(price_per_gb=0, budget_cost=1)).obstacle(GB) is None
    assert _allowance(Budget(price_per_gb=1, budget_cost=20)).obstacle(GB) is None
    assert not caplog.records
    near = _allowance(Budget(price_per_gb=1, budget_cost=10.6))
    assert near.obstacle(GB) is None  # 10 for what is kept, 0.5 for the half month
    assert near.obstacle(GB) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]  # once
    over = near.obstacle(2 * GB)
    assert isinstance(over, StoreBlocked)
    assert over.reason == "budget"
    assert "11.00" in str(over)


@pytest.mark.parametrize(("read_back", "share"), [("always", 1.0), ("first", 0.0), ("0.25", 0.25)])
def test_reading_back_counts_in_the_budget(read_back: str, share: float) -> None:
    prices = Budget(price_per_gb=1, read_price_per_gb=10, budget_cost=10 + 40 * share + 10)
    allowance = _allowance(prices, read_back=read_back)
    cost = allowance.month_cost()
    assert cost is not None
    assert cost == pytest.approx(10 + 40 * share, rel=0.1)
    assert allowance.obstacle(GB // 2) is None
    assert isinstance(allowance.obstacle(30 * GB), StoreBlocked)
    assert _allowance(Budget(read_price_per_gb=10), read_back="always").month_cost() == pytest.approx(40)


def test_uploads_wait_outside_the_upload_window() -> None:
    local = datetime.fromtimestamp(MIDDLE / 1e6)
    inside, outside = f"{local:%H:%M}-{(local.hour + 1) % 24:02d}:00", f"{(local.hour + 1) % 24:02d}:00-{local:%H:%M}"
    assert _allowance(Budget(), inside).obstacle(1) is None
    reason = _allowance(Budget(), outside).obstacle(1)
    assert not isinstance(reason, StoreBlocked)
    assert "upload window" in str(reason)
