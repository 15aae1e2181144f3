"""The parts of a node that doctor checks, and the checks of each part.

To check another part, add its name to `Part` and a case to `checks_of`; the type checker names what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, assert_never, get_args

from commands.doctor.finding import Finding
from commands.doctor.node_under_test import NodeUnderTest

Part = Literal["software", "files", "clock", "spool", "device", "catalog", "broker", "store", "realtime", "http"]
PARTS: tuple[Part, ...] = get_args(Part)  # in the order of the report

Checks = Callable[[NodeUnderTest], Iterator[Finding]]


def checks_of(part: Part) -> Checks:  # noqa: PLR0911 -- a table of one case each
    """The checks of `part`, imported on demand: a missing library then fails this part alone. ImportError."""
    # ruff: noqa: PLC0415
    match part:
        case "software":
            from commands.doctor.software import check_software

            return check_software
        case "files":
            from commands.doctor.files import check_files

            return check_files
        case "clock":
            from commands.doctor.clock import check_clock

            return check_clock
        case "spool":
            from commands.doctor.spool import check_spool

            return check_spool
        case "device":
            from commands.doctor.device import check_device

            return check_device
        case "catalog":
            from commands.doctor.catalog import check_catalog

            return check_catalog
        case "broker":
            from commands.doctor.broker import check_broker

            return check_broker
        case "store":
            from commands.doctor.store import check_store

            return check_store
        case "realtime":
            from commands.doctor.realtime import check_realtime

            return check_realtime
        case "http":
            from commands.doctor.http import check_http

            return check_http
        case _:
            assert_never(part)
