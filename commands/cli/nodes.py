"""What commands that query nodes share: the way to them, and a report of those that gave no answer."""

from __future__ import annotations

from typing import cast, get_args

from commands.cli.common import print_message
from commands.cli.logs import escaped
from edge.core.errors import UsageError
from edge.core.ids import EVERY_NODE
from query_service.api import FleetAnswer, Via


def chosen_via(text: str) -> Via:
    """--via, checked; UsageError lists what there is."""
    if text not in get_args(Via):
        raise UsageError(f"--via {text[:40]}: unknown way; there are: {', '.join(get_args(Via))}")
    return cast(Via, text)


def check_reaches_all_nodes(via: Via) -> None:
    """UsageError where this way does not reach every node."""
    if via != "ably":
        raise UsageError(f"--node {EVERY_NODE}: only Ably reaches every node at once; add --via ably")


def report_missing_nodes(fleet: FleetAnswer, seconds: float) -> bool:
    """Names the nodes that refused or did not answer; whether the answer is complete."""
    for node, error in fleet.refused.items():
        print_message(f"{node}: {escaped(error.message)}")
    for node in fleet.silent:
        print_message(f"{escaped(node)}: is online, but did not answer within {seconds:g} s")
    if not (fleet.answers or fleet.refused or fleet.silent):
        print_message("no node is online")
    return bool(fleet.answers) and not fleet.refused and not fleet.silent
