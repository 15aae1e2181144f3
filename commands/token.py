"""`imhearing token`: issues a query-only Ably token for one client, printed on standard output."""

from __future__ import annotations

import argparse

from commands.cli.common import load_settings, now, print_message
from commands.cli.times import parse_duration
from commands.show import formats as show
from edge.configuration.settings import Settings
from edge.core.errors import ConfigError, UsageError
from edge.core.instant import MICROSECONDS, Instant
from edge.embedded import ports
from query_service import api
from query_service.queries.status import StatusAnswer


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
    _warn_if_stopped(settings)
    until = show.full(Instant(issued + seconds * MICROSECONDS), args.utc)
    print_message(f"{args.client} can query every node until {until}, with this token in IMHEARING_ABLY_TOKEN")
    if _local_port(settings):
        print_message(
            f"it is only valid on this machine, with --set ably.endpoint={settings.ably.endpoint};"
            " for access from elsewhere, give the node an Ably key ([ably] api_key)"
        )
    return 0


def _local_port(settings: Settings) -> int | None:
    """That of the realtime server of `imhearing up`, if the node uses it."""
    host, _, port = settings.ably.endpoint.rstrip("/").rpartition(":")
    return int(port) if host == ports.LOOPBACK and port.isdecimal() else None


def _warn_if_stopped(settings: Settings) -> None:
    """Says nothing of a node whose folder is on another machine."""
    if not settings.recorder.record_path.is_dir():
        return
    if port := _local_port(settings):
        runs = ports.answers(port)
    else:
        status = api.query(settings, type="status")
        runs = isinstance(status, StatusAnswer) and status.recorder.alive
    if not runs:
        print_message(
            f"{settings.node.name} is not running, so it does not answer; start it with `imhearing up`, or, if"
            " installed, with `sudo systemctl start imhearing.target`"
        )
