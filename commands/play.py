"""`imhearing play`: plays a time range, or the loudest minute of a day, with a player that this machine has."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import cast

from commands.cli.common import load_settings_for_query, now, print_message, writing
from commands.cli.nodes import chosen_via
from commands.cli.termination import termination_interrupts
from commands.cli.times import parse_day, parse_range
from commands.fetch import print_holes, save_sound
from commands.show import formats as show
from edge.configuration.settings import Settings
from edge.core.errors import ImHearingError, UsageError
from edge.core.instant import Instant
from edge.core.scratch import scratch
from query_service import api
from query_service.api import Via
from query_service.queries.levels import LevelsAnswer

# those that show least of themselves come first; each plays WAV of any rate
PLAYERS = (
    ("mpv", "--no-video", "--really-quiet"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"),
    ("cvlc", "--quiet", "--play-and-exit"),
    ("pw-play",),
    ("paplay",),
    ("play", "-q"),  # SoX
    ("aplay", "-q"),
    ("afplay",),
)
_STEP = 60  # seconds


def run(args: argparse.Namespace) -> int:
    """FetchError, QueryRefused, DoorError, ImHearingError without a player, UsageError."""
    via = chosen_via(args.via)
    player = _player()
    settings = load_settings_for_query(args)
    start, end = _loudest(args, settings, via) if args.loudest is not None else _range(args)
    with tempfile.TemporaryDirectory(prefix="imhearing-play-", dir=scratch()) as folder:
        sound = Path(folder) / "sound.wav"
        with writing(folder):
            report, holes = save_sound(args, settings, via, start, end, sound)
        print_holes(report, holes, args.gaps, args.utc)
        print_message(f"playing {show.span(start, end, args.utc)} with {player[0]}")
        with termination_interrupts():
            code = subprocess.run((*player, str(sound)), check=False).returncode
    if code:
        raise ImHearingError(
            f"{player[0]} failed (exit code {code}); is there a loudspeaker here? `imhearing fetch` saves the sound"
        )
    return 0


def _range(args: argparse.Namespace) -> tuple[Instant, Instant]:
    return parse_range(args.start, args.end, args.last, now())


def _player() -> tuple[str, ...]:
    for player in PLAYERS:
        if shutil.which(player[0]):
            return player
    names = ", ".join(name for name, *_ in PLAYERS)
    raise ImHearingError(
        f"no player is installed: install one of {names}, or save the sound with `imhearing fetch -o FILE`"
    )


def _loudest(args: argparse.Namespace, settings: Settings, via: Via) -> tuple[Instant, Instant]:
    """The loudest minute of that day."""
    if args.start is not None or args.end is not None or args.last is not None:
        raise UsageError("--loudest cannot be combined with --from, --to and --last")
    start, end = parse_day(args.loudest, now())
    answer = api.query(
        settings, via, node=args.node, timeout=args.timeout,
        type="levels", start=start, end=end, step=_STEP, order="loudest", limit=1,
    )  # fmt: skip
    levels = cast(LevelsAnswer, answer).levels
    if not levels:
        raise ImHearingError(f"--loudest {args.loudest}: nothing was recorded on that day")
    minute = levels[0]
    level = "" if minute.laeq is None else f", LAeq {minute.laeq:.1f} {minute.unit}"
    print_message(f"the loudest minute: {show.span(minute.from_, minute.to, args.utc)}{level}")
    return minute.from_, minute.to
