"""Sun times against another formula for the sun's position, and at places where it does not rise or set."""

from __future__ import annotations

import math
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.configuration.sun import Place, SunEvent, sun_time
from edge.core.instant import Instant

DAYS = st.dates(date(2024, 1, 1), date(2050, 12, 31))
EQUINOX, MIDSUMMER, MIDWINTER = date(2026, 3, 20), date(2026, 6, 21), date(2026, 12, 21)
TROMSO = Place(69.65, 18.96)
HOUR = 3_600_000_000


def zenith(at: Instant, place: Place) -> float:
    """Degrees, by the low-precision formulas of the Astronomical Almanac (page C5): good to 0.02 degrees to 2050."""
    days = (at - Instant.parse("2000-01-01T12:00:00Z")) / 86_400e6
    anomaly = math.radians(357.528 + 0.9856003 * days)
    longitude = math.radians(280.460 + 0.9856474 * days + 1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly))
    tilt = math.radians(23.439 - 0.0000004 * days)
    ascension = math.atan2(math.cos(tilt) * math.sin(longitude), math.cos(longitude))
    declination = math.asin(math.sin(tilt) * math.sin(longitude))
    sidereal = math.radians((18.697374558 + 24.06570982441908 * days) * 15 + place.longitude)
    north, angle = math.radians(place.latitude), sidereal - ascension
    cosine = math.sin(north) * math.sin(declination) + math.cos(north) * math.cos(declination) * math.cos(angle)
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))


@given(DAYS, st.floats(-60, 60), st.floats(-180, 180), st.sampled_from(["sunrise", "sunset", "dawn", "dusk"]))
def test_the_sun_is_at_the_horizon_at_the_computed_time(
    day: date, latitude: float, longitude: float, event: SunEvent
) -> None:
    place = Place(latitude, longitude)
    line = 90.833 if event.startswith("sun") else 96.0
    at = sun_time(event, day, place)
    if abs(zenith(at, place) - line) > 0.03:  # then it never gets there on that day: above 60 degrees less the tilt
        assert abs(latitude) > 60.5 - (line - 90)
        return
    before, after = zenith(Instant(at - HOUR // 60), place), zenith(Instant(at + HOUR // 60), place)
    assert (before > after) == (event in ("sunrise", "dawn"))


def test_london_at_midsummer_matches_published_times() -> None:
    # HM Nautical Almanac Office: 04:43 and 21:21 British summer time
    place = Place(51.5, -0.12)
    assert abs(sun_time("sunrise", MIDSUMMER, place) - Instant.parse("2026-06-21T03:43:00Z")) < HOUR // 40
    assert abs(sun_time("sunset", MIDSUMMER, place) - Instant.parse("2026-06-21T20:21:00Z")) < HOUR // 40


def test_the_night_is_empty_in_polar_day_and_lasts_all_day_in_polar_night() -> None:
    after = MIDSUMMER + timedelta(days=1)
    assert abs(sun_time("sunrise", after, TROMSO) - sun_time("sunset", MIDSUMMER, TROMSO)) < HOUR // 60
    after = MIDWINTER + timedelta(days=1)
    night = sun_time("sunrise", after, TROMSO) - sun_time("sunset", MIDWINTER, TROMSO)
    assert abs(night - 24 * HOUR) < HOUR // 60


@given(DAYS, st.floats(-90, 90), st.floats(-180, 180))
def test_sunrise_precedes_sunset_around_solar_noon(day: date, latitude: float, longitude: float) -> None:
    place = Place(latitude, longitude)
    rise, fall = sun_time("sunrise", day, place), sun_time("sunset", day, place)
    assert rise <= fall + HOUR // 60
    noon = Instant.parse(f"{day}T12:00:00Z") - longitude / 15 * HOUR
    assert abs((rise + fall) / 2 - noon) < HOUR


@pytest.mark.parametrize("latitude", [-90.0, 90.0])
def test_sun_times_exist_at_the_poles(latitude: float) -> None:
    for day in (EQUINOX, MIDSUMMER, MIDWINTER):
        assert sun_time("sunset", day, Place(latitude, 0)) >= sun_time("sunrise", day, Place(latitude, 0)) - HOUR
