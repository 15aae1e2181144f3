"""How likely each kind of fault is, and what its details may be."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

SERVICES = ("recorder", "archiver", "query-service")
SERVERS = ("broker", "store", "realtime")
_ALL = (*SERVICES, *SERVERS)
# kind -> how likely it is, compared with the others
KINDS = {
    "kill": 8,
    "stop": 5,
    "ambush": 4,
    "second": 1,
    "reconfigure": 2,
    "clock": 1,
    "broker_db": 1,
    "store": 6,
    "full_disk": 2,
    "read_only_disk": 1,
    "unreadable_disk": 2,
    "catalog": 1,
    "pause": 3,
    "rotate": 2,
    "archive": 2,
    "limit": 2,
    "forget": 3,
    "hold": 2,
}
_STORE_FAULTS = ("error", "slow_down", "reset_body", "reply_lost", "wrong_etag", "truncated", "slow")
_LONGEST_STOP = 12.0  # seconds: the sound server keeps 22 s of stereo
_AMBUSHES = (
    ("recorder", "*.part"),
    ("recorder", "*.tmp"),
    ("recorder", "*-[0-9][0-9][0-9][0-9][0-9][0-9].json"),
    ("recorder", "*.stream.json"),
    ("recorder", "pause.json"),
    ("archiver", "catalog.db-journal"),
    ("archiver", "*.zip"),
    ("archiver", "erase-*.json"),
    ("archiver", "*.flac"),
    ("archiver", "*.tmp"),
)
_CHANGES = (
    "recorder.record_period=1",
    "recorder.record_period=4",
    "recorder.format=wav",
    "recorder.format=flac",
    "recorder.block_ms=40",
    "archive.archive_max_chunks=3",
    "archive.keep_local=5",
    "archive.keep_local=0",
)


def choose(dice: random.Random, kind: str) -> dict[str, Any]:
    """Fields of a fault: `target`, `seconds`, `value`; what they mean is up to its injector."""
    chooser = _CHOOSERS.get(kind)
    return chooser(dice) if chooser else {}


def _lasting(dice: random.Random, shortest: float, longest: float) -> float:
    return round(dice.uniform(shortest, longest), 2)


def _kill(dice: random.Random) -> dict[str, Any]:
    return {"target": dice.choice(("recorder", "archiver", *_ALL, "all"))}


def _stop(dice: random.Random) -> dict[str, Any]:
    return {"target": dice.choice(("recorder", *_ALL, "all")), "seconds": _lasting(dice, 0.3, _LONGEST_STOP)}


def _ambush(dice: random.Random) -> dict[str, Any]:
    target, pattern = dice.choice(_AMBUSHES)
    return {"target": target, "seconds": _lasting(dice, 3, 10), "value": pattern}


def _second(dice: random.Random) -> dict[str, Any]:
    return {"target": dice.choice(("recorder", "archiver"))}


def _reconfigure(dice: random.Random) -> dict[str, Any]:
    return {"value": dice.choice(_CHANGES)}


def _clock(dice: random.Random) -> dict[str, Any]:
    return {"seconds": _lasting(dice, 1, 8), "value": dice.choice(("3600", "-3600", "90", "-20"))}


def _store(dice: random.Random) -> dict[str, Any]:
    share = dice.choice(("0.3", "0.6", "1.0"))
    return {"target": dice.choice(_STORE_FAULTS), "seconds": _lasting(dice, 3, 12), "value": share}


def _disk(dice: random.Random) -> dict[str, Any]:
    return {"seconds": _lasting(dice, 0.5, 6)}


def _unreadable_disk(dice: random.Random) -> dict[str, Any]:
    return {"seconds": _lasting(dice, 0.5, 5), "value": dice.choice(("spool", "all"))}


def _catalog(dice: random.Random) -> dict[str, Any]:
    target = dice.choice(("deleted", "truncated", "garbled", "old"))
    seconds = _lasting(dice, 2, 8) if target == "old" else 0.0
    return {"target": target, "seconds": seconds, "value": dice.choice(("live", "dead"))}


def _pause(dice: random.Random) -> dict[str, Any]:
    return {"seconds": _lasting(dice, 1, 5), "value": dice.choice(("timed", "resume"))}


def _limit(dice: random.Random) -> dict[str, Any]:
    return {"target": "records_count", "value": str(dice.choice((1, 2, 4, 8)))}


def _range(dice: random.Random) -> str:
    """Seconds ago of a range's begin and end."""
    begin = _lasting(dice, 1, 20)
    return f"{begin} {round(begin - dice.uniform(0.2, begin), 2)}"


def _forget(dice: random.Random) -> dict[str, Any]:
    return {"value": _range(dice)}


def _hold(dice: random.Random) -> dict[str, Any]:
    """0 seconds: never released."""
    return {"seconds": dice.choice((0.0, _lasting(dice, 2, 20))), "value": _range(dice)}


_CHOOSERS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "kill": _kill,
    "stop": _stop,
    "ambush": _ambush,
    "second": _second,
    "reconfigure": _reconfigure,
    "clock": _clock,
    "store": _store,
    "full_disk": _disk,
    "read_only_disk": _disk,
    "unreadable_disk": _unreadable_disk,
    "catalog": _catalog,
    "pause": _pause,
    "limit": _limit,
    "forget": _forget,
    "hold": _hold,
}
