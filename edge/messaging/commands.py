"""The commands that a node takes on `request/<verb>`: one frozen struct each, with who sends it and who carries it out.

ACL, AsyncAPI, topics and clients are derived from this module. A new command also needs a handler in its service's
command table, a section in docs/mqtt.md, and, unless ON_COMMAND_LINE is False, a subcommand
(commands/cli/help_texts.py, commands/control.py): tests/unit/messaging/test_registry.py names what is missing. What the
page sends, on `request/owner/<verb>`, carries the owner's proof besides its fields.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct, field

from edge.core.instant import Instant
from edge.core.values import Metric, RecorderMode
from edge.messaging import topics
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

    @classmethod
    def requests(cls) -> list[str]:
        """Below `request/`: the verb, and that of the owner's page, which must carry a proof."""
        plain = [cls.VERB] if "control" in cls.SENT_BY else []
        return [*plain, topics.owners(cls.VERB)] if "page" in cls.SENT_BY else plain


class OwnerProof(Struct, frozen=True, kw_only=True):
    """What a command on `request/owner/<verb>` carries besides its own fields."""

    proof: Annotated[
        str,
        Meta(
            max_length=200,
            description="Shows that the node's owner sent it; `imhearing page proof` prints one",
            examples=["692f3a10.5b0f6c1d2e3f4a5b6c7d8e9f.0a1b2c3d4e5f60718293a4b5"],
        ),
    ] = ""


class NotRecording(Struct, frozen=True, kw_only=True):
    """What `resume` and `rotate` return while nothing is being recorded: why, and until when if that is known."""

    state: RecorderMode
    until: Instant | None = None
    reason: str | None = None


class Pause(Command, frozen=True, kw_only=True):
    """Stop recording immediately; the time counts as paused, not as a gap. Returns `until`, or null."""

    VERB: ClassVar[str] = "pause"
    SENT_BY: ClassVar[tuple[Role, ...]] = ("control", "page")

    seconds: _Seconds = None


class Resume(Command, frozen=True, kw_only=True):
    """Resume recording. Returns why not, if the schedule or a fault prevents it."""

    VERB: ClassVar[str] = "resume"
    SENT_BY: ClassVar[tuple[Role, ...]] = ("control", "page")


class SwitchRecording(Command, frozen=True, kw_only=True):
    """`pause` and `resume` in one, for a switch. Returns `until`, or null."""

    VERB: ClassVar[str] = "recording"
    ON_COMMAND_LINE: ClassVar[bool] = False  # `pause` and `resume` are there

    on: Annotated[bool, Meta(description="Whether to record", examples=[False])]
    seconds: _Seconds = None


class Rotate(Command, frozen=True, kw_only=True):
    """Finish the current chunk and start the next one; no sample is lost. Returns why not, if nothing is recorded."""

    VERB: ClassVar[str] = "rotate"
    SENT_BY: ClassVar[tuple[Role, ...]] = ("control", "page")


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
    SENT_BY: ClassVar[tuple[Role, ...]] = ("control", "page")


_From = Annotated[Instant | None, Meta(description="Start of the range, inclusive", examples=["2026-11-22T05:40:00Z"])]
_To = Annotated[Instant | None, Meta(description="End of the range, exclusive", examples=["2026-11-22T05:50:00Z"])]


class ChangeHolds(Command, frozen=True, kw_only=True):
    """Keep a range for ever, or no longer. Without a range, it changes nothing. Returns all holds."""

    VERB: ClassVar[str] = "hold"
    BY: ClassVar[Literal["recorder", "archiver"]] = "archiver"
    SENT_BY: ClassVar[tuple[Role, ...]] = ("page",)

    from_: _From = field(name="from", default=None)
    to: _To = None
    release: Annotated[bool, Meta(description="Whether to end holds in the range", examples=[False])] = False


class Forget(Command, frozen=True, kw_only=True):
    """Erase a range everywhere. Returns the order; with its `order` instead of a range, how far it has come."""

    VERB: ClassVar[str] = "forget"
    BY: ClassVar[Literal["recorder", "archiver"]] = "archiver"
    SENT_BY: ClassVar[tuple[Role, ...]] = ("page",)

    from_: _From = field(name="from", default=None)
    to: _To = None
    order: Annotated[
        Annotated[str, Meta(pattern=r"^[0-9a-f]{16}(?!\n)$")] | None,
        Meta(description="An order that was given before, instead of a range", examples=["4f2d9c1e7a3b5d60"]),
    ] = None


COMMANDS = tuple(Command.__subclasses__())  # every struct above, in order
EVERY_REQUEST = frozenset({verb for command in COMMANDS for verb in command.requests()} | {QUERY_VERB})
