"""Every event and command is complete: each test fails with the name of what is missing."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast, get_args, get_type_hints

import pytest
from msgspec import Struct
from msgspec.structs import fields

from commands import control
from commands.cli import help_texts
from commands.cli.parser import build_parser
from edge.archiver import service as archiver_service
from edge.archiver.archiver import Archiver
from edge.archiver.commands import ArchiverCommands
from edge.catalog import Catalog
from edge.core.kernel_clock import KernelClock
from edge.messaging import commands, events
from edge.messaging.commands import COMMANDS, Command
from edge.messaging.events import EVENTS, Event
from edge.messaging.login import Role
from edge.recorder import service as recorder_service
from edge.recorder.commands import RecorderCommands
from edge.recorder.pause import ScheduleWatch
from edge.recorder.recorder import Recorder
from edge.spool.spool import Spool

MQTT_MD = (Path(__file__).parents[3] / "docs" / "mqtt.md").read_text(encoding="utf-8")
SUBCOMMANDS = {each.name: each for each in help_texts.COMMANDS}


def with_class_variable(module: ModuleType, name: str) -> list[type[Struct]]:
    """The structs of a module that are complete enough to say `name`."""
    found = [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]
    return [each for each in found if issubclass(each, Struct) and hasattr(each, name)]


def documented(name: str) -> str:
    """The text below the heading of an event or a verb."""
    section = re.search(rf"^### `{re.escape(name)}`\n\n(.*?)(?=^##|\Z)", MQTT_MD, re.MULTILINE | re.DOTALL)
    assert section, f"docs/mqtt.md has no section on `{name}`"
    return section[1]


def prose(struct: type[Struct]) -> str:
    return " ".join((struct.__doc__ or "").split())


@pytest.fixture
def handlers(tmp_path: Path) -> dict[str, dict[type[Command], Callable[[Any], Any]]]:
    spool = Spool(tmp_path, "porch")
    recorder = RecorderCommands(spool, KernelClock(), cast(Recorder, None), cast(ScheduleWatch, None))
    return {
        "recorder": recorder_service.command_handlers(recorder),
        "archiver": archiver_service.command_handlers(
            ArchiverCommands(cast(Archiver, None), Catalog(tmp_path / "catalog.db"), KernelClock())
        ),
    }


# commands


def test_every_command_is_registered() -> None:
    assert with_class_variable(commands, "VERB") == list(COMMANDS)
    verbs = [command.VERB for command in COMMANDS]
    assert len(set(verbs)) == len(verbs)
    assert commands.QUERY_VERB not in verbs


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_each_command_has_one_handler_in_its_service(
    command: type[Command], handlers: dict[str, dict[type[Command], Callable[[Any], Any]]]
) -> None:
    services = [service for service, table in handlers.items() if command in table]
    assert services == [command.BY], f"{command.__name__} belongs into command_handlers of edge/{command.BY}/service.py"
    taken = [hint for name, hint in get_type_hints(handlers[command.BY][command]).items() if name != "return"]
    assert taken == [command], f"the handler of {command.__name__} takes {taken}"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_each_command_lists_the_roles_that_send_it(command: type[Command]) -> None:
    assert command.SENT_BY
    assert set(command.SENT_BY) <= set(get_args(Role))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_each_command_is_documented_with_a_mosquitto_pub_line(command: type[Command]) -> None:
    section = documented(command.VERB)
    assert section.startswith(f"{prose(command)} Handled by the {command.BY}.")
    required = [field.encode_name for field in fields(command) if field.required]
    verb = command.requests()[0]
    line = re.search(rf"mosquitto_pub -q 1 -t imhearing/porch/request/{verb} (?:-m|-s <<<) '(.*)'", section)
    assert line, f"no mosquitto_pub line for {command.VERB}"
    proof = [] if verb == command.VERB else ["proof"]
    assert all(f'"{name}":' in line[1] for name in (*required, *proof))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_each_command_is_a_subcommand_unless_declared_otherwise(command: type[Command]) -> None:
    assert (command.VERB in SUBCOMMANDS) == command.ON_COMMAND_LINE, f"see help_texts.py: {command.VERB}"
    if not command.ON_COMMAND_LINE:
        return
    run = SUBCOMMANDS[command.VERB].run
    if "control" not in command.SENT_BY:  # its subcommand works on the node itself, and asks nobody
        assert run.startswith("commands.retention:")
        return
    assert run.startswith("commands.control:")
    if run == "commands.control:send":
        assert control.SENT[command.VERB][0] is command
    words = [field.name for field in fields(command) if field.required and field.name != "id"]
    assert vars(build_parser().parse_args([command.VERB, *words, "--node", "porch", "--json"]))["node"] == "porch"


@pytest.mark.parametrize("subcommand", help_texts.COMMANDS, ids=lambda each: each.name)
def test_each_subcommand_names_a_function(subcommand: help_texts.Subcommand) -> None:
    module, _, name = subcommand.run.partition(":")
    assert callable(getattr(importlib.import_module(module), name))


# events


def test_every_event_is_registered() -> None:
    assert with_class_variable(events, "TOPIC") == list(EVENTS)
    assert len({event.TOPIC for event in EVENTS}) == len(EVENTS)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_each_event_topic_starts_with_a_role(event: type[Event]) -> None:
    assert event.TOPIC.partition("/")[0] in {"recorder", "archiver", "query"}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_each_event_is_documented_with_delivery_and_a_complete_example(event: type[Event]) -> None:
    section = documented(event.TOPIC)
    assert section.startswith(prose(event).rstrip("."))
    delivery, _, _ = section.partition("```")
    assert f"QoS {event.QOS}" in delivery
    assert ("retained" in delivery) == event.RETAINED
    assert event.EXPIRY is None or f"{event.EXPIRY} s" in delivery
    assert f"-t imhearing/porch/{event.TOPIC}\n" in section
    example = re.search(r"```json\n(\{.*\})\n```", section)
    assert example
    assert all(f'"{field.encode_name}":' in example[1] for field in fields(event))
