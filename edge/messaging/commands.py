"""The commands that a node takes on `request/<verb>`: one frozen struct each, with who sends it and who carries it out.

ACL, AsyncAPI, topics and clients are derived from this module. A new command also needs a handler in its service's
command table, a section in docs/mqtt.md, and, unless ON_COMMAND_LINE is False, a subcommand
(commands/cli/help_texts.py, commands/control.py): tests/unit/messaging/test_registry.py names what is missing.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from edge.core.instant import Instant
from edge.core.values import Metric, RecorderMode
from edge.messaging.login import Role

LONGEST_PAUSE = 31 * 86_400  # seconds
QUERY_VERB = "query"  # its fields are the query protocol's

_Id = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=128,
        description="Chosen by the sender, at least 64 random bits; a repeated id gets the first answer again",
        examples=["4f2d9c1e7a3b5d60"],
    ),
]
_Seconds = Annotated[
    Annotated[float, Meta(ge=1, le=LONGEST_PAUSE)] | None,
    Meta(description="How long; until `resume` if missing", examples=[1800], extra_json_schema={"x-unit": "s"}),
]


class Command(Struct, frozen=True, kw_only=True):
    """A request on `request/<verb>`, which one of the node's services carries out."""

    VERB: ClassVar[str]
    BY: ClassVar[Literal["recorder", "archiver"]] = "recorder"
    SENT_BY: ClassVar[tuple[Role, ...]] = ("control",)
    ON_COMMAND_LINE: ClassVar[bool] = True  # as `imhearing <verb>`

    id: _Id


class NotRecording(Struct, frozen=True, kw_only=True):
    """What `resume` and `rotate` return while nothing is being recorded: why, and until when if that is known."""

    state: RecorderMode
    until: Instant | None = None
    reason: str | None = None


class Pause(Command, frozen=True, kw_only=True):
    """Stop recording immediately; the time counts as paused, not as a gap. Returns `until`, or null."""

    VERB: ClassVar[str] = "pause"

    seconds: _Seconds = None


class Resume(Command, frozen=True, kw_only=True):
    """Resume recording. Returns why not, if the schedule or a fault prevents it."""

    VERB: ClassVar[str] = "resume"


class SwitchRecording(Command, frozen=True, kw_only=True):
    """`pause` and `resume` in one, for a switch. Returns `until`, or null."""

    VERB: ClassVar[str] = "recording"
    ON_COMMAND_LINE: ClassVar[bool] = False  # `pause` and `resume` are there

    on: Annotated[bool, Meta(description="Whether to record", examples=[False])]
    seconds: _Seconds = None


class Rotate(Command, frozen=True, kw_only=True):
    """Finish the current chunk and start the next one; no sample is lost. Returns why not, if nothing is recorded."""

    VERB: ClassVar[str] = "rotate"


class SetLimit(Command, frozen=True, kw_only=True):
    """Set a threshold; it survives restarts. Returns all active thresholds."""

    VERB: ClassVar[str] = "set"
    ON_COMMAND_LINE: ClassVar[bool] = False  # `imhearing configure` sets thresholds

    metric: Annotated[Metric, Meta(description="Which threshold", examples=["sound_level"])]
    limit: Annotated[
        float, Meta(ge=-200, le=1e12, description="In the metric's unit; 0 turns it off", examples=[-35.0])
    ]


class ArchiveNow(Command, frozen=True, kw_only=True):
    """Archive all finished chunks now, regardless of the thresholds."""

    VERB: ClassVar[str] = "archive"
    BY: ClassVar[Literal["recorder", "archiver"]] = "archiver"


COMMANDS = tuple(Command.__subclasses__())  # every struct above, in order
EVERY_VERB = frozenset({command.VERB for command in COMMANDS} | {QUERY_VERB})
