"""Every kind of fault, and its injector."""

from __future__ import annotations

from collections.abc import Callable

from tests.campaigns.node.faults import catalog_faults, command_faults, disk_faults, process_faults
from tests.campaigns.node.faults.effects import Effect
from tests.campaigns.node.node import Node
from tests.campaigns.node.plan import Fault

INJECTORS: dict[str, Callable[[Node, Fault], Effect]] = {
    "kill": process_faults.kill,
    "stop": process_faults.stop,
    "ambush": process_faults.ambush,
    "second": process_faults.second,
    "reconfigure": process_faults.reconfigure,
    "clock": process_faults.clock,
    "broker_db": process_faults.broker_db,
    "store": process_faults.store,
    "full_disk": disk_faults.full_disk,
    "read_only_disk": disk_faults.read_only_disk,
    "unreadable_disk": disk_faults.unreadable_disk,
    "catalog": catalog_faults.catalog,
    "pause": command_faults.pause,
    "rotate": command_faults.rotate,
    "archive": command_faults.archive,
    "limit": command_faults.limit,
    "forget": command_faults.forget,
    "hold": command_faults.hold,
}
