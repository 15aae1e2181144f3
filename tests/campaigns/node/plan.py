"""What a seed means: a node's settings and a timed list of faults. Pure; the same seed always gives the same plan."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, replace
from typing import Any

from tests.campaigns.node.choices import KINDS, choose

_QUIET_START = 4.0  # seconds without a fault, so that there is sound to lose
_BURST = 0.4  # how likely a fault follows the one before within a second


@dataclass(frozen=True)
class LifeSettings:
    """The node's settings that vary; the rest is the same in every life."""

    channels: int = 1
    format: str = "flac"
    encrypted: bool = False
    record_period: float = 2.0
    records_count: int = 3
    archive_max_chunks: int = 4
    keep_local: float = 0.0
    keep_remote: float = 0.0  # days
    keep: str = "all"
    when_full: str = "stop"


@dataclass(frozen=True)
class Fault:
    """`at` seconds after the start, for `seconds`. `target`: a process, or `all`; `value` depends on the kind."""

    at: float
    kind: str
    target: str = ""
    seconds: float = 0.0
    value: str = ""

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return " ".join(part for part in (f"{self.at:6.2f} s", self.kind, self.target, self.value) if part) + lasting


@dataclass(frozen=True)
class Plan:
    seed: int
    seconds: float
    settings: LifeSettings
    faults: tuple[Fault, ...]

    def keeping(self, kept: set[int]) -> Plan:
        """The same life with only these of its faults, by position."""
        return replace(self, faults=tuple(fault for number, fault in enumerate(self.faults) if number in kept))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str | bytes) -> Plan:
        raw: dict[str, Any] = json.loads(text)
        faults = tuple(Fault(**fault) for fault in raw["faults"])
        return Plan(raw["seed"], raw["seconds"], LifeSettings(**raw["settings"]), faults)

    def __str__(self) -> str:
        head = f"seed {self.seed}, {self.seconds:.0f} s, {self.settings}"
        return "\n".join([head, *(f"  {fault}" for fault in self.faults)])


def make_plan(seed: int, seconds: float = 45.0, kinds: tuple[str, ...] = ()) -> Plan:
    """`kinds`: choose among these only."""
    dice = random.Random(seed)
    chosen = {kind: weight for kind, weight in KINDS.items() if not kinds or kind in kinds}
    settings = _settings(dice)
    faults: list[Fault] = []
    at = _QUIET_START + dice.uniform(0, 2)
    while at < seconds - 1:
        kind = dice.choices(list(chosen), list(chosen.values()))[0]
        faults.append(Fault(round(at, 2), kind, **choose(dice, kind)))
        at += dice.uniform(0.05, 1.0) if dice.random() < _BURST else dice.uniform(1.0, 5.0)
    return Plan(seed, seconds, settings, tuple(faults))


def _settings(dice: random.Random) -> LifeSettings:
    return LifeSettings(
        channels=dice.choice((1, 1, 2)),
        format=dice.choice(("flac", "flac", "wav")),
        encrypted=dice.random() < 0.25,
        record_period=dice.choice((1.0, 2.0, 3.0, 5.0)),
        records_count=dice.choice((1, 2, 3, 5, 40)),
        archive_max_chunks=dice.choice((2, 4, 10, 250)),
        keep_local=dice.choice((0.0, 0.0, 10.0)),
        keep_remote=dice.choice((0.0, 0.0, 0.0, 0.0004)),
        keep=dice.choice(("all", "all", "all", "all", "sounds")),
        when_full=dice.choice(("stop", "drop_oldest")),
    )
