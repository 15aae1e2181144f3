"""The discovery payload has what Home Assistant requires, and only topics and fields of the node.

That a real Home Assistant likes it is shown by bench/home_assistant.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import fields

from edge.messaging import topics
from edge.messaging.commands import COMMANDS
from edge.messaging.events import EVENTS, LevelMeasured, SoundHeard
from edge.messaging.home_assistant import Component, discovery_payload

NODE = "porch-2"
COMPONENTS: dict[str, Component] = discovery_payload(NODE, "dBFS")["components"]
STRUCTS = {event.topic_of(NODE): event for event in EVENTS}
VERBS = {topics.request(NODE, command.VERB): command for command in COMMANDS}


def test_the_discovery_payload_has_what_home_assistant_requires() -> None:
    payload = discovery_payload(NODE, "dBFS")
    assert payload["device"]["identifiers"] == ["imhearing_porch-2"]
    assert payload["origin"]["name"]
    assert len(json.dumps(payload)) < 60_000  # what our own reader would take


@pytest.mark.parametrize("key", COMPONENTS)
def test_each_component_has_a_unique_id_an_entity_id_and_an_icon(key: str) -> None:
    component = COMPONENTS[key]
    assert component["unique_id"] == f"imhearing_{NODE}_{key}"
    assert re.fullmatch(r"[a-z_]+\.im_hearing_porch_2_[a-z_]+", component["default_entity_id"])
    assert component["default_entity_id"].startswith(component["platform"] + ".")
    assert component.get("icon") or component.get("device_class")


def test_no_two_components_share_an_id() -> None:
    for what in ("unique_id", "default_entity_id"):
        found = [component[what] for component in COMPONENTS.values()]
        assert len(set(found)) == len(found)


@pytest.mark.parametrize("key", COMPONENTS)
def test_each_component_reads_only_fields_of_its_topic(key: str) -> None:
    component = COMPONENTS[key]
    places = [(component["state_topic"], component["value_template"])] if "state_topic" in component else []
    if "json_attributes_topic" in component:
        places.append((component["json_attributes_topic"], component["json_attributes_template"]))
    places += [(place["topic"], place["value_template"]) for place in component.get("availability", [])]
    assert places
    for topic, template in places:
        known = {field.encode_name for field in fields(STRUCTS[topic])}
        assert set(re.findall(r"value_json\.(\w+)", template)) <= known


@pytest.mark.parametrize("key", COMPONENTS)
def test_each_component_state_is_retained_or_repeated(key: str) -> None:
    component = COMPONENTS[key]
    if "state_topic" in component:
        event = STRUCTS[component["state_topic"]]
        assert event.RETAINED or event in (LevelMeasured, SoundHeard)  # each second; an event, which has no state


@pytest.mark.parametrize("key", [key for key, component in COMPONENTS.items() if "command_topic" in component])
def test_each_command_template_sends_valid_fields(key: str) -> None:
    component = COMPONENTS[key]
    command = VERBS[component["command_topic"]]
    known = {field.encode_name: field.required for field in fields(command)}
    named = set(re.findall(r'"(\w+)":', component["command_template"]))
    assert named <= set(known)
    assert {name for name, required in known.items() if required} <= named


@pytest.mark.parametrize("key", COMPONENTS)
def test_each_component_has_an_availability(key: str) -> None:
    assert key == "running" or COMPONENTS[key]["availability"]


def test_levels_have_the_device_class_sound_pressure_only_if_calibrated() -> None:
    def level(unit: Any) -> Component:
        found: Component = discovery_payload(NODE, unit)["components"]["level"]
        return found

    assert level("dBFS")["unit_of_measurement"] == "dBFS"
    assert "device_class" not in level("dBFS")
    assert level("dBA")["unit_of_measurement"] == "dBA"
    assert level("dBA")["device_class"] == "sound_pressure"


def test_the_discovery_topic_is_valid_for_home_assistant() -> None:
    assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", topics.discovery(NODE))


def test_home_assistant_md_names_each_entity() -> None:
    text = (Path(__file__).parents[3] / "docs" / "home-assistant.md").read_text(encoding="utf-8")
    for component in discovery_payload("porch", "dBFS")["components"].values():
        entity = component["default_entity_id"]
        assert f"`{entity}`" in text or f"`...{entity.partition('_porch')[2]}`" in text, entity
