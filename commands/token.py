"""`imhearing token`: a token that lets one client ask, and no more. The token alone goes to standard output."""

from __future__ import annotations

import argparse

from commands.cli import logs
from commands.cli.common import load_settings, now, print_message
from commands.cli.times import parse_duration
from commands.show import formats as show
from edge.core.errors import ConfigError, UsageError
from edge.core.instant import MICROSECONDS, Instant
from edge.embedded.ports import LOOPBACK


def run(args: argparse.Namespace) -> int:
    """`imhearing token --client ID [--ttl 24h]`."""
    from query_service.realtime.tokens import LONGEST_SECONDS, client_token  # noqa: PLC0415

    logs.set_up_for_people()
    chosen = load_settings(args)
    if not chosen.ably.api_key.reveal():
        raise ConfigError(
            [
                "[ably] api_key: is empty, and it signs the tokens; set it, or name the folder of an `imhearing up`"
                " with --data"
            ]
        )
    seconds = parse_duration(args.ttl) // MICROSECONDS
    if not 1 <= seconds <= LONGEST_SECONDS:
        raise UsageError(f"--ttl {args.ttl}: a token works for 1s to {LONGEST_SECONDS // 86_400}d")
    issued = now()
    token = client_token(chosen.ably.api_key, args.client, seconds, issued)
    print(token, flush=True)
    until = show.full(Instant(issued + seconds * MICROSECONDS), args.utc)
    print_message(f"{args.client} may ask every node until {until}; they set it as IMHEARING_ABLY_TOKEN")
    if chosen.ably.endpoint.startswith(f"{LOOPBACK}:"):
        print_message(
            f"it is for the realtime server of this machine alone, with --set ably.endpoint={chosen.ably.endpoint};"
            " to be asked from elsewhere, give the node an Ably key ([ably] api_key)"
        )
    return 0
