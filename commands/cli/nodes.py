"""What commands that query nodes share: the way to them, and a query of every node at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, cast, get_args

from commands.cli.common import load_settings_for_query, print_json, print_message
from commands.cli.logs import escaped
from edge.core.errors import UsageError
from edge.core.ids import EVERY_NODE
from query_service import api
from query_service.api import FleetAnswer, Question, Via


def chosen_via(text: str) -> Via:
    """--via, checked; UsageError lists what there is."""
    if text not in get_args(Via):
        raise UsageError(f"--via {text[:40]}: unknown way; there are: {', '.join(get_args(Via))}")
    return cast(Via, text)


def query_every_node(
    args: argparse.Namespace, via: Via, question: Question, timeout: float, show: Callable[[Any], None]
) -> tuple[FleetAnswer, bool]:
    """Prints the answer of each node; returns them, and whether every node answered. UsageError unless over Ably."""
    if via != "ably":
        raise UsageError(f"--node {EVERY_NODE}: only Ably reaches every node at once; add --via ably")
    fleet = api.query_all(load_settings_for_query(args), timeout=timeout, **question)
    if args.json:
        print_json(fleet)
    else:
        for answer in fleet.answers.values():
            show(answer)
            print()
    return fleet, _report_missing_nodes(fleet, timeout)


def _report_missing_nodes(fleet: FleetAnswer, seconds: float) -> bool:
    for node, error in fleet.refused.items():
        print_message(f"{node}: {escaped(error.message)}")
    for node in fleet.silent:
        print_message(f"{escaped(node)}: is online, but did not answer within {seconds:g} s")
    if not (fleet.answers or fleet.refused or fleet.silent):
        print_message("no node is online")
    return bool(fleet.answers) and not fleet.refused and not fleet.silent
