"""What the query service tells the encoder that it starts, one line of JSON each."""

from __future__ import annotations

from msgspec import Struct


class Take(Struct, frozen=True, tag="take"):
    """`frames` frames of the file at `path`, from frame `first` on; `name` is for messages."""

    path: str
    first: int
    frames: int
    name: str


class Silence(Struct, frozen=True, tag="silence"):
    frames: int


class Output(Struct, frozen=True):
    """What to make: `kind` is RAW (samples without a header), FLAC or OGG (Opus)."""

    kind: str
    rate: int  # frames per second
    channels: int
    bits: int
    frames: int  # in all


DONE = b"done\n"  # the encoder's answer to each `Take` and `Silence`, once it needs the file no more
