"""Only the command, its subcommands, the services and the Python interface construct what does I/O.

Everything else is handed its collaborators. The table states the few exceptions, each with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

import pytest

from tests.unit.architecture.source_tree import Module, Modules, parse, product, within

# the class, and the files beside the wiring ones that construct it
COMPONENTS: dict[str, dict[str, str]] = {
    "AblyClient": {},
    "AblyDoor": {},
    "Archiver": {},
    "BrokerConnection": {"edge/messaging/bus.py": "the bus is all that speaks MQTT through it"},
    "Bus": {
        "edge/messaging/command_client.py": "one command, one connection",
        "query_service/client/mqtt.py": "a client is its connection",
    },
    "Catalog": {"edge/archiver/rebuild.py": "the new catalog, which replaces the old one when it is complete"},
    "CatalogReader": {"query_service/answer/node_answers.py": "opened and closed in the thread that answers"},
    "Child": {"edge/embedded/supervisor.py": "a supervisor is its children"},
    "ClientSession": {
        "query_service/client/http.py": "a client is its connection",
        "query_service/sound/download.py": "lasts for one download",
    },
    "CommandServer": {},
    "Disk": {"edge/recorder/recorder.py": "one thread per recording, which may end on its own"},
    "FileSource": {"edge/recorder/capture/sources.py": "chosen by the settings at each start of the recording"},
    "Home": {"edge/spool/spool.py": "tells the spool whether its disk is there"},
    "HttpClient": {},
    "HttpDoor": {},
    "HttpListener": {
        "query_service/doors/http.py": "what the door listens with",
        "query_service/loopback/server.py": "what the server listens with",
    },
    "KernelClock": {
        "edge/recorder/capture/excerpt.py": "default of a parameter",
        "edge/recorder/capture/sources.py": "default of a parameter",
        "edge/store/s3_connection.py": "default of a parameter",
    },
    "Link": {"query_service/client/ably.py": "a client is its connection"},
    "Microphone": {"edge/recorder/capture/sources.py": "chosen by the settings at each start of the recording"},
    "MqttClient": {},
    "MqttDoor": {},
    "NodeAnswers": {},
    "Popen": {"edge/embedded/child.py": "a child is its process"},
    "Recorder": {},
    "S3Store": {
        "query_service/answer/clip.py": "made with the first clip: boto3 costs memory",
    },
    "SourceChoice": {},
    "Spool": {
        "edge/recorder/missing_disk.py": "folders with sound that belongs into the spool, found at run time",
        "edge/spool/spool.py": "spool_of, which is a component itself",
        "query_service/sound/live_decoder.py": "a process of its own, named its spool by its parent",
    },
    "spool_of": {
        "query_service/answer/node_answers.py": "opened and closed in the thread that answers",
        "query_service/telemetry/reporting.py": "measures the disk it is on",
    },
    "Supervisor": {},
    "Thread": {
        "edge/archiver/upload/sending.py": "one per part in flight",
        "edge/archiver/worker.py": "a worker is its thread",
        "edge/messaging/command_server.py": "for commands that take long",
        "edge/messaging/connection.py": "a connection is its thread",
        "edge/recorder/durable/disk.py": "a disk writer is its thread",
        "edge/recorder/limit_watch.py": "a watch is its thread",
    },
    "ThreadPoolExecutor": {"query_service/answer/node_answers.py": "the thread that answers"},
    "Uploader": {},
    "Worker": {},
}
OUTSIDE = {"ClientSession", "Popen", "Thread", "ThreadPoolExecutor", "spool_of"}  # not classes of ours
SERVICES = ("edge.recorder.service", "edge.archiver.service", "query_service.service")
WIRING = ("imhearing", "commands", *SERVICES, "query_service.api")

Table = Mapping[str, Mapping[str, str]]


def wiring(modules: Modules, components: Table = COMPONENTS) -> list[str]:
    """Components constructed in files that should be handed them."""
    return [
        f"{module.path} constructs {name}"
        for module in modules.values()
        if not any(within(module.name, place) for place in WIRING)
        for name in sorted(set(constructed(module)) & components.keys())
        if module.path not in components[name]
    ]


def constructed(module: Module) -> Iterator[str]:
    """The name of every class, and of whatever else is called."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id
            elif isinstance(node.func, ast.Attribute):
                yield node.func.attr


def stale(modules: Modules, components: Table = COMPONENTS) -> list[str]:
    """Components that no longer exist, and exceptions that nobody needs."""
    defined = {
        node.name for module in modules.values() for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)
    }
    calls = {(name, module.path) for module in modules.values() for name in constructed(module)}
    breaches = [f"no class {name}" for name in sorted(components.keys() - defined - OUTSIDE)]
    return breaches + [
        f"{path} does not construct {name}"
        for name, paths in components.items()
        for path in paths
        if (name, path) not in calls
    ]


def test_only_the_wiring_modules_construct_what_does_io() -> None:
    assert wiring(product()) == []


def test_the_table_of_components_is_up_to_date() -> None:
    assert stale(product()) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("edge/recorder/recorder.py", "bus = Bus(1)"),
        ("edge/recorder/recorder.py", "import edge.messaging.bus\ndef f():\n    return edge.messaging.bus.Bus(1)"),
        ("edge/recorder/recorder.py", "class A:\n    def f(self, bus=Bus()): ..."),
        ("edge/service.py", "Bus()"),
    ],
)
def test_a_component_constructed_elsewhere_is_found(path: str, text: str) -> None:
    assert wiring(parse({path: text}), {"Bus": {}}) == [f"{path} constructs Bus"]


def test_wiring_modules_and_stated_exceptions_pass() -> None:
    sources = dict.fromkeys(("commands/up/up.py", "edge/recorder/service.py", "edge/client.py"), "Bus()")
    assert wiring(parse({**sources, "edge/a.py": "def f(bus: Bus) -> Bus: ..."}), {"Bus": {"edge/client.py": ""}}) == []


def test_stale_components_and_unused_exceptions_are_found() -> None:
    modules = parse({"edge/a.py": "class Bus: ..."})
    table = {"Bus": {"edge/a.py": ""}, "Radio": {}}
    assert stale(modules, table) == ["no class Radio", "edge/a.py does not construct Bus"]
