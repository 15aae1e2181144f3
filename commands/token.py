"""`imhearing token`: issues a query-only Ably token for one client, printed on standard output."""

from __future__ import annotations

import argparse

from commands.cli.common import load_settings, now, print_message
from commands.cli.times import parse_duration
from commands.show import formats as show
from edge.core.errors import ConfigError, UsageError
from edge.core.instant import MICROSECONDS, Instant
from edge.embedded.ports import LOOPBACK


def run(args: argparse.Namespace) -> int:
    from query_service.realtime.tokens import MAX_TTL_SECONDS, client_token  # noqa: PLC0415

    settings = load_settings(args)
    if not settings.ably.api_key.reveal():
        raise ConfigError(
            [
                "[ably] api_key is empty, but it is needed to sign tokens; set it, or use --data with the folder of an"
                " `imhearing up`"
            ]
        )
    seconds = parse_duration(args.ttl) // MICROSECONDS
    if not 1 <= seconds <= MAX_TTL_SECONDS:
        raise UsageError(f"--ttl {args.ttl}: must be from 1s to {MAX_TTL_SECONDS // 86_400}d")
    issued = now()
    token = client_token(settings.ably.api_key, args.client, seconds, issued)
    print(token, flush=True)
    until = show.full(Instant(issued + seconds * MICROSECONDS), args.utc)
    print_message(f"{args.client} can query every node until {until}, with this token in IMHEARING_ABLY_TOKEN")
    if settings.ably.endpoint.startswith(f"{LOOPBACK}:"):
        print_message(
            f"it is only valid on this machine, with --set ably.endpoint={settings.ably.endpoint};"
            " for access from elsewhere, give the node an Ably key ([ably] api_key)"
        )
    return 0
