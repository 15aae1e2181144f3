"""The limits of the local realtime server: those of Ably where clients notice them, memory bounds elsewhere."""

from __future__ import annotations

from msgspec import Struct


class ServerLimits(Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds. The first block is Ably's (https://ably.com/docs/platform/pricing/limits)."""

    message_bytes: int = 65_536  # one publish: names, data, client ids, extras
    message_rate: float = 50.0  # messages per second, each way per connection, and into one channel
    resume_seconds: float = 120.0
    history_seconds: float = 120.0
    members: int = 200  # present on one channel
    leave_seconds: float = 15.0  # a member whose socket broke counts as present for this long

    connections: int = 64  # open or waiting to be resumed
    channels: int = 256
    attachments: int = 64  # channels that one connection is attached to
    frame_bytes: int = 262_144  # inbound; holds the largest message as JSON with every character escaped
    frame_rate: float = 500.0  # frames per second and connection, of any kind
    history_messages: int = 500  # stored publishes of one channel
    history_bytes: int = 1_048_576  # of one channel
    history_total_bytes: int = 4_194_304
    members_bytes: int = 262_144  # data of all members of one channel: one SYNC must fit the SDK's frame limit of 1 MiB
    queue_bytes: int = 2_097_152  # for one slow reader; more than one channel's history
    queue_frames: int = 2_000

    idle_seconds: float = 15.0  # the client is promised a frame at least this often
    reauth_seconds: float = 30.0  # request a new token this long before the old one expires


class Rate:
    """A token bucket that holds one second's worth."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._level = per_second
        self._seen = 0.0

    def allow(self, now: float, cost: int = 1) -> bool:
        """Whether `cost` more may pass at `now` (seconds of a monotonic clock)."""
        self._level = min(self._per_second, self._level + (now - self._seen) * self._per_second)
        self._seen = now
        if self._level < cost:
            return False
        self._level -= cost
        return True
