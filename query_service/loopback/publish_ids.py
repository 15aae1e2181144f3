"""Which publishes are repeats: ids that clients gave their messages, as in Ably's idempotent publishing. Pure."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from query_service.loopback.protocol import AblyMessage, Refusal

_LONGEST = 256


class PublishIds:
    """Ids of recent publishes into all channels: of the last `seconds`, and at most `most`."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._seen: OrderedDict[bytes, float] = OrderedDict()  # when, by digest

    def is_repeat(self, channel: str, publish_id: str, now: float) -> bool:
        """Whether a publish with this id was added less than `seconds` before `now`."""
        seen = self._seen.get(_digest(channel, publish_id))
        return seen is not None and now - seen < self._seconds

    def add(self, channel: str, publish_id: str, now: float) -> None:
        """Remembers a publish that took effect."""
        key = _digest(channel, publish_id)
        self._seen[key] = now
        self._seen.move_to_end(key)
        while len(self._seen) > self._most or now - next(iter(self._seen.values())) >= self._seconds:
            self._seen.popitem(last=False)


def publish_id(messages: list[AblyMessage]) -> str | None:
    """The id of a publish: of its only message, or what all ids begin with; None without ids. Refusal (40031)."""
    ids = [message.id for message in messages]
    if all(each is None for each in ids):
        return None
    first = ids[0] or ""
    base = first if len(ids) == 1 else first.removesuffix(":0")
    if not 1 <= len(base) <= _LONGEST:
        raise Refusal(f"invalid message id: 1 to {_LONGEST} characters", 40031)
    if len(ids) > 1 and ids != [f"{base}:{index}" for index in range(len(ids))]:
        raise Refusal("invalid message ids: several messages need ids of one base, <base>:0, <base>:1 and so on", 40031)
    return base


def _digest(channel: str, publish_id: str) -> bytes:
    return hashlib.blake2b(f"{channel}\n{publish_id}".encode(errors="surrogatepass"), digest_size=16).digest()
