"""Checks of the sound: what the witness heard is recorded once, or its absence is answered, with a cause that was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from tests.campaigns.node.judging.facts import RATE, Facts, Place, seconds_of

_SOUND = ("recorded", "pending")
_LENGTH_TOLERANCE = 0.3  # seconds: a loss is placed within a block, and the sound server's clock is not ours
_TIME_TOLERANCE = 0.5
_ENCODED = 1.0  # seconds before a kill that may be lost: a device's block, one being encoded, and what is on the way
_REACTION = 3.0  # seconds from a command to what it does, on a busy machine
_SERVER_KEEPS = 15.0  # seconds; in truth 22 of stereo and 44 of mono
_ON_ITS_WAY = 5.0  # seconds
_LONGEST_CHANGED = 4.0  # record_period of a reconfigured node
_EXPIRY = {"quiet": ("keep", "sounds"), "dropped": ("when_full", "drop_oldest")}


class Silence(NamedTuple):
    """What lies between two recorded chunks: the answer's intervals, and the witness's frames."""

    intervals: list[dict[str, Any]]
    answered: float  # seconds
    missing: float  # seconds
    begin: float  # UTC by the witness
    end: float


def every_sound_is_the_witness(facts: Facts) -> Iterator[str]:
    """Each chunk of the answer is somewhere, and is bit for bit what the witness heard, when it says so."""
    for interval in _sounding(facts):
        chunk_id = interval["chunk_id"]
        if chunk_id not in facts.places:
            yield f"{chunk_id} is answered as {interval['state']} but is nowhere"
            continue
        place = facts.places[chunk_id]
        if place is None:
            yield f"{chunk_id} is not what the witness heard"
            continue
        if place.end - place.start != interval["frames"]:
            yield f"{chunk_id} has {place.end - place.start} frames, and is answered with {interval['frames']}"
        off = seconds_of(interval["from"]) - facts.utc(place.start + interval["cut"]["first"])
        if abs(off) > _TIME_TOLERANCE:
            yield f"{chunk_id} is answered {off:+.2f} s from when the witness heard it"


def every_sound_is_answered(facts: Facts) -> Iterator[str]:
    """What lies in spool or store is answered as sound."""
    local = facts.life["answers"]["coverage"]["local"]
    overlapped = local.get("overlapped") or [] if isinstance(local, dict) else []
    answered = {interval["chunk_id"] for interval in (*_sounding(facts), *overlapped)}
    for chunk_id in sorted(facts.places.keys() - answered):
        states = sorted({_cause(i) for i in facts.intervals if i.get("chunk_id") == chunk_id})
        yield f"{chunk_id} is there, and answered as {', '.join(states) or 'nothing'}"


def no_sample_twice(facts: Facts) -> Iterator[str]:
    """No two chunks have a sample of the witness in common."""
    placed = sorted((place, chunk_id) for chunk_id, place in facts.places.items() if place is not None)
    for (before, one), (after, other) in pairwise(placed):
        if after.start < before.end:
            yield f"{one} and {other} have {before.end - after.start} frames in common"


def answers_tile(facts: Facts) -> Iterator[str]:
    """Each moment of the range has one answer."""
    if not facts.intervals:
        yield "there is no answer"
        return
    start, end = (seconds_of(text) for text in facts.life["range"])
    edges = [start, *(seconds_of(interval["to"]) for interval in facts.intervals)]
    for edge, interval in zip(edges, facts.intervals, strict=False):
        if abs(seconds_of(interval["from"]) - edge) > 1e-5:
            yield f"{interval['from']} is not where the interval before ends"
    if abs(edges[-1] - end) > 1e-5:
        yield f"the answer ends at {facts.intervals[-1]['to']}"


def missing_sound_is_a_gap(facts: Facts) -> Iterator[str]:
    """Between two chunks, the answer's gap is as long as what the witness heard there; and none is where none is."""
    for silence in silences(facts):
        causes = [_cause(interval) for interval in silence.intervals]
        if silence.missing > 0 and not silence.intervals:
            yield f"{silence.missing:.4f} s are missing without a gap at {silence.begin:.2f}"
        elif abs(silence.answered - silence.missing) > _LENGTH_TOLERANCE:
            yield (
                f"{silence.missing:.3f} s are missing at {silence.begin:.2f}, answered as {silence.answered:.3f} s"
                f" ({', '.join(causes)})"
            )


def missing_sound_is_explained(facts: Facts) -> Iterator[str]:
    """Every gap has a cause that was there; after a kill, only what was on its way is lost."""
    for silence in silences(facts):
        for interval in silence.intervals:
            cause = _cause(interval)
            begin, end = seconds_of(interval["from"]), seconds_of(interval["to"])
            if not _explained(facts, cause, begin, end):
                yield f"{cause} from {begin:.2f} to {end:.2f} ({end - begin:.2f} s) has no such fault"


def silences(facts: Facts) -> Iterator[Silence]:
    """Between chunks that the witness heard; not before the first nor after the last."""
    last: tuple[dict[str, Any], Place] | None = None
    between: list[dict[str, Any]] = []
    for interval in facts.intervals:
        place = facts.places.get(interval.get("chunk_id", "")) if interval["state"] in _SOUND else None
        if place is None:
            between.append(interval)
            continue
        if last is not None:
            earlier, its = last
            same = earlier["chunk_id"] == interval["chunk_id"]
            answered = seconds_of(interval["from"]) - seconds_of(earlier["to"])
            missing = 0.0 if same else (place.start - its.end) / RATE
            if between or not same:
                yield Silence(between, answered, missing, facts.utc(its.end), facts.utc(place.start))
        last, between = (interval, place), []


def _sounding(facts: Facts) -> list[dict[str, Any]]:
    return [interval for interval in facts.intervals if interval["state"] in _SOUND]


def _cause(interval: dict[str, Any]) -> str:
    return str(interval.get("cause") or interval["state"])


def _explained(facts: Facts, cause: str, begin: float, end: float) -> bool:
    if cause in _EXPIRY:
        setting, value = _EXPIRY[cause]
        return bool(facts.settings[setting] == value)
    explain = _EXPLANATIONS.get(cause)
    return explain is not None and explain(facts, begin, end)


def _paused(facts: Facts, begin: float, _end: float) -> bool:
    return any(
        _lost_since(facts, e["began"]) - _ENCODED <= begin <= _pause_ended(facts, e) + _REACTION
        for e in facts.events("pause")
    )


def _pause_ended(facts: Facts, event: dict[str, Any]) -> float:
    """A `resume` that the node could not carry out leaves it to the next one that succeeds."""
    if event["value"] == "timed":
        return float(event["ended"] + event["effect"]["seconds"])
    resumed = (c for c in facts.life["commands"] if c["command"][0] == "resume" and c["code"] == 0)
    return min((float(c["ended"]) for c in resumed if c["began"] >= event["began"]), default=math.inf)


def _restarted(facts: Facts, begin: float, end: float) -> bool:
    """Told to stop; or killed in a timed pause which ended while it was dead: nobody broke off a recording."""
    if _died(facts, begin, end, ("restarted",)):
        return True
    timed = [e for e in facts.events("pause") if e["value"] == "timed"]
    return any(abs(_pause_ended(facts, e) - begin) <= _REACTION for e in timed) and _died(facts, begin, end)


def _died(facts: Facts, begin: float, end: float, ways: tuple[str, ...] = ("killed", "restarted")) -> bool:
    """Killed, or told to stop; perhaps while the disk failed, and what was on its way had been lost already."""
    ends = [e for e in facts.events() if any("recorder" in e["effect"].get(way, ()) for way in ways)]
    disk_failed = _disk_failed(facts, begin, end)
    for event in ends:
        at = event["effect"].get("killed_at", event["began"])
        lost_by_it = _lost_since(facts, at) - _ENCODED <= begin <= event["ended"] + _REACTION
        if lost_by_it or (disk_failed and begin <= at <= end):
            return True
    return False


def _disk_failed(facts: Facts, begin: float, _end: float) -> bool:
    """What was on its way to the disk is lost with it."""
    events = facts.events("full_disk", "read_only_disk", "unreadable_disk")
    return any(_lost_since(facts, e["began"]) - _ON_ITS_WAY <= begin <= e["ended"] + _REACTION for e in events)


def _not_known(facts: Facts, begin: float, end: float) -> bool:
    """A recorder that cannot read its spool does not know why; nor does a rebuilt catalog know what has expired, or was
    erased before any archive listed it."""
    events = facts.events("unreadable_disk")
    if any(e["began"] - _ON_ITS_WAY <= begin <= e["ended"] + _REACTION for e in events):
        return True
    lost = any(e["effect"].get("lost") for e in facts.events("catalog"))
    expires = facts.settings["keep_remote"] or any(facts.settings[k] == v for k, v in _EXPIRY.values())
    return bool(lost and (expires or _erased(facts, begin, end)))


def _overran(facts: Facts, begin: float, end: float) -> bool:
    before = [e["ended"] - e["began"] for e in _recorder_stops(facts) if begin - 60 < e["began"] < end]
    return bool(sum(before) > _SERVER_KEEPS)


def _expired(facts: Facts, _begin: float, _end: float) -> bool:
    return bool(facts.settings["keep_remote"])


def _erased(facts: Facts, begin: float, end: float) -> bool:
    """Whole chunks are erased: up to one chunk's length on either side of what was to be forgotten."""
    longest = max(facts.settings["record_period"], _LONGEST_CHANGED) + 1
    orders = [(seconds_of(e["effect"]["from"]), seconds_of(e["effect"]["to"])) for e in facts.events("forget")]
    return any(start - longest <= begin and end <= stop + longest for start, stop in _joined(orders, longest))


_EXPLANATIONS: dict[str, Callable[[Facts, float, float], bool]] = {
    "paused": _paused,
    "crash": _died,
    "restart": _restarted,
    "overrun": _overran,
    "disk_full": _disk_failed,
    "disk_missing": _disk_failed,
    "unknown": _not_known,
    "lifecycle": _expired,
    "erased": _erased,
}


def _joined(spans: list[tuple[float, float]], near: float) -> list[tuple[float, float]]:
    """Spans that lie near each other, as one."""
    joined: list[tuple[float, float]] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1] + 2 * near:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def _recorder_stops(facts: Facts) -> list[dict[str, Any]]:
    return [e for e in facts.events("stop") if "recorder" in e["effect"]["stopped"]]


def _lost_since(facts: Facts, until: float) -> float:
    """A stopped recorder reads nothing: if it is killed or paused then, what waits in the sound server is lost."""
    return float(min([until, *(e["began"] for e in _recorder_stops(facts) if e["began"] <= until <= e["ended"] + 1)]))
