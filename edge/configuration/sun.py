"""Sunrise, sunset and twilight for a place and a day. Pure.

Follows the solar calculator of NOAA's Global Monitoring Laboratory (gml.noaa.gov/grad/solcalc/calcdetails.html), based
on J. Meeus, Astronomical Algorithms, chapters 25 and 28: accurate to a minute up to latitude 72, ten minutes beyond.
"""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from typing import Literal, NamedTuple

from edge.core.instant import MICROSECONDS, Instant

SunEvent = Literal["sunrise", "sunset", "dawn", "dusk"]

_HORIZON = 90.833  # degrees from the zenith: refraction and the sun's radius
_TWILIGHT = 96.0  # civil dawn and dusk
_DAY = 86_400 * MICROSECONDS
_J2000 = Instant.parse("2000-01-01T12:00:00Z")
_ITERATIONS = 3  # each uses the sun's position at the time found by the previous one


class Place(NamedTuple):
    """A position in degrees (WGS 84); north and east are positive."""

    latitude: float
    longitude: float


def sun_time(event: SunEvent, day: date, place: Place) -> Instant:
    """When `event` happens on `day`, which runs from midnight to midnight in local solar time.

    If it does not happen, the result is when the sun comes closest to it: its lowest point (about midnight) in polar
    day, its highest (about noon) in polar night. Nights thus shrink to nothing towards polar day, and last from noon
    to noon in polar night.
    """
    morning = event in ("sunrise", "dawn")
    zenith = _HORIZON if event in ("sunrise", "sunset") else _TWILIGHT
    noon = _mean_noon(day, place.longitude)
    found = noon
    for _ in range(_ITERATIONS):
        declination, equation = _sun(found)
        angle = _hour_angle(zenith, place.latitude, declination)
        minutes = -equation + (-4 if morning else 4) * angle  # four minutes a degree
        found = Instant(noon + round(minutes * 60 * MICROSECONDS))
    return found


def _mean_noon(day: date, longitude: float) -> Instant:
    """Mean solar noon: noon UTC at Greenwich, and four minutes earlier for each degree east."""
    days = day.toordinal() - datetime(2000, 1, 1).toordinal()
    shift = timedelta(minutes=4 * longitude) // timedelta(microseconds=1)
    return Instant(_J2000 + days * _DAY - shift)


def _sun(at: Instant) -> tuple[float, float]:
    """Declination in degrees, and the equation of time in minutes (Meeus 25.2 to 25.8, 28.3)."""
    century = (at - _J2000) / (36_525 * _DAY)
    mean_longitude = math.radians((280.46646 + century * (36_000.76983 + century * 0.0003032)) % 360)
    anomaly = math.radians(357.52911 + century * (35_999.05029 - 0.0001537 * century))
    eccentricity = 0.016708634 - century * (0.000042037 + 0.0000001267 * century)
    centre = (
        math.sin(anomaly) * (1.914602 - century * (0.004817 + 0.000014 * century))
        + math.sin(2 * anomaly) * (0.019993 - 0.000101 * century)
        + math.sin(3 * anomaly) * 0.000289
    )
    node = math.radians(125.04 - 1934.136 * century)
    longitude = mean_longitude + math.radians(centre - 0.00569 - 0.00478 * math.sin(node))
    arcseconds = 21.448 - century * (46.815 + century * (0.00059 - century * 0.001813))
    obliquity = math.radians(23 + (26 + arcseconds / 60) / 60 + 0.00256 * math.cos(node))
    declination = math.degrees(math.asin(math.sin(obliquity) * math.sin(longitude)))
    y = math.tan(obliquity / 2) ** 2
    equation = 4 * math.degrees(
        y * math.sin(2 * mean_longitude)
        - 2 * eccentricity * math.sin(anomaly)
        + 4 * eccentricity * y * math.sin(anomaly) * math.cos(2 * mean_longitude)
        - 0.5 * y * y * math.sin(4 * mean_longitude)
        - 1.25 * eccentricity**2 * math.sin(2 * anomaly)
    )
    return declination, equation


def _hour_angle(zenith: float, latitude: float, declination: float) -> float:
    """Degrees between the sun's highest point and where it reaches `zenith`: 0 to 180; 0 or 180 if it never does."""
    north, sun = math.radians(min(max(latitude, -89.9), 89.9)), math.radians(declination)
    cosine = math.cos(math.radians(zenith)) / (math.cos(north) * math.cos(sun)) - math.tan(north) * math.tan(sun)
    return math.degrees(math.acos(min(max(cosine, -1.0), 1.0)))
