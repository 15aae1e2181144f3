"""What the commands that ask a node share: which way, and what to say of nodes that gave no answer."""

from __future__ import annotations

from typing import cast, get_args

from commands.cli.common import print_message
from commands.cli.logs import escaped
from edge.core.errors import UsageError
from edge.core.ids import EVERY_NODE
from query_service.client.client import FleetAnswer, Via


def chosen_via(text: str) -> Via:
    """--via, checked; UsageError lists what there is."""
    if text not in get_args(Via):
        raise UsageError(f"--via {text[:40]}: there is no such way to ask; there are: {', '.join(get_args(Via))}")
    return cast(Via, text)


def check_fleet(via: Via) -> None:
    """UsageError where every node is asked in a way that reaches one alone."""
    if via != "ably":
        raise UsageError(f"--node {EVERY_NODE}: every node at once can be asked over Ably alone; add --via ably")


def tell_missing(fleet: FleetAnswer, seconds: float) -> bool:
    """Names who refused and who stayed silent; whether the answer is whole."""
    for node, error in fleet.refused.items():
        print_message(f"{node}: {escaped(error.message)}")
    for node in fleet.silent:
        print_message(f"{escaped(node)}: is there, and gave no answer within {seconds:g} s")
    if not (fleet.answers or fleet.refused or fleet.silent):
        print_message("no node is there now")
    return bool(fleet.answers) and not fleet.refused and not fleet.silent
