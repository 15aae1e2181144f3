"""Announces the node to Home Assistant: the device discovery payload, built from events, verbs and settings.

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload (Home Assistant 2024.12 and later). Every
state it reads is retained or published every second, so all of them are back after any restart.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from edge import __version__
from edge.core import wire
from edge.core.values import LevelUnit, Metric
from edge.messaging import topics
from edge.messaging.bus import Bus
from edge.messaging.commands import LONGEST_PAUSE, ArchiveNow, Rotate, SetLimit, SwitchRecording
from edge.messaging.events import (
    ArchiverState,
    ArchiverStatus,
    Event,
    LevelMeasured,
    LimitsSet,
    RecorderState,
    RecorderStatus,
    SoundHeard,
    SoundingChanged,
)
from edge.messaging.messages import InboundMessage

_LEVEL_SECONDS = 30  # a level older than this is unknown

# Home Assistant's templates cannot generate 64 random bits; its clock and five digits are unique enough for one sender
_ID = '"id": "ha-{{ now().timestamp() }}-{{ range(99999) | random }}"'

Component = dict[str, Any]


def discovery_payload(node: str, unit: LevelUnit) -> dict[str, Any]:
    """The whole device. `unit` is the current unit of the levels, which the payload states.

    Entity IDs follow names, except where `object_id` keeps an earlier one: automations refer to it.
    """
    components = {**_sound(node, unit), **_recording(node, unit), **_archiving(node)}
    slug = node.replace("-", "_")
    for key, component in components.items():
        component["unique_id"] = f"imhearing_{node}_{key}"
        object_id = component.pop("object_id", _slug(component["name"]))
        component["default_entity_id"] = f"{component['platform']}.im_hearing_{slug}_{object_id}"
    return {
        "device": {
            "identifiers": [f"imhearing_{node}"],
            "name": f"Im Hearing {node}",
            "manufacturer": "Im Hearing",
            "model": "Sound-recording node",
            "sw_version": __version__,
        },
        "origin": {"name": "Im Hearing", "sw_version": __version__},
        "qos": 1,
        "components": components,
    }


class Discovery:
    """Keeps the node announced on `bus`: at start, after each connection, and when Home Assistant comes online."""

    def __init__(self, bus: Bus, node: str, prefix: str) -> None:
        self._bus, self._node, self._prefix = bus, node, prefix
        self._unit: LevelUnit = "dBFS"
        if prefix:
            bus.subscribe_raw(topics.home_assistant_status(prefix), self._on_home_assistant_status)
            self._announce()
        else:
            bus.retain(topics.discovery(node), b"")

    def unit_is(self, unit: LevelUnit) -> None:
        """Announces the node again if the unit of the levels has changed."""
        if unit != self._unit:
            self._unit = unit
            if self._prefix:
                self._announce()

    def _on_home_assistant_status(self, message: InboundMessage) -> None:
        if message.payload == b"online" and not message.retained:
            self._announce()

    def _announce(self) -> None:
        payload = discovery_payload(self._node, self._unit)
        self._bus.retain(topics.discovery(self._node, self._prefix), wire.encode(payload))


def _sound(node: str, unit: LevelUnit) -> dict[str, Component]:
    level = {
        "platform": "sensor",
        "state_topic": LevelMeasured.topic_of(node),
        "unit_of_measurement": unit,
        "state_class": "measurement",
        "suggested_display_precision": 1,
        "expire_after": _LEVEL_SECONDS,
        "availability": _while_recording(node),
        "availability_mode": "all",
    }
    if unit == "dBA":
        level["device_class"] = "sound_pressure"  # Home Assistant accepts dB and dBA here, but not dBFS
    span = "'sound_id': value_json.sound_id, 'lafmax': value_json.lafmax, 'laeq': value_json.laeq,"
    return {
        "level": {
            **level,
            "name": "Sound level",
            "icon": "mdi:volume-high",
            "value_template": "{{ value_json.laeq }}",
        },
        "loudest": {
            **level,
            "name": "Maximum sound level",
            "object_id": "loudest_of_the_last_minute",
            "icon": "mdi:volume-vibrate",
            "value_template": "{{ value_json.lafmax_minute }}",
        },
        "sounding": {
            "platform": "binary_sensor",
            "name": "Sound",
            "device_class": "sound",
            "state_topic": SoundingChanged.topic_of(node),
            "value_template": "{{ 'ON' if value_json.sounding else 'OFF' }}",
            "json_attributes_topic": SoundingChanged.topic_of(node),
            "json_attributes_template": "{{ {'since': value_json.since, 'sound_id': value_json.sound_id} | tojson }}",
            "availability": _while_recording(node),
            "availability_mode": "all",
        },
        "loud_sound": {
            "platform": "event",
            "name": "Loud sound",
            "icon": "mdi:waveform",
            "state_topic": SoundHeard.topic_of(node),
            "event_types": ["started", "ended"],
            "value_template": "{% if value_json.event != 'updated' %}{{ {'event_type': value_json.event, "
            + span
            + " 'unit': value_json.unit, 'started_at': value_json.started_at, 'ended_at': value_json.ended_at}"
            " | tojson }}{% endif %}",
            "availability": _while_running(node, RecorderStatus),
        },
    }


def _recording(node: str, unit: LevelUnit) -> dict[str, Component]:
    state, running = RecorderState.topic_of(node), _while_running(node, RecorderStatus)
    minutes = "((as_timestamp(value_json.until) - as_timestamp(value_json.since)) / 60) | round | int"
    return {
        "recording": {
            "platform": "switch",
            "name": "Recording",
            "icon": "mdi:microphone",
            "state_topic": state,
            "value_template": "{{ 'OFF' if value_json.state == 'paused' else 'ON' }}",
            "command_topic": topics.request(node, SwitchRecording.VERB),
            "command_template": "{" + _ID + ", \"on\": {{ 'true' if value == 'ON' else 'false' }}}",
            "availability": running,
        },
        "pause_for": {
            "platform": "number",
            "name": "Pause for",
            "icon": "mdi:timer-pause",
            "min": 0,
            "max": LONGEST_PAUSE // 60,
            "step": 1,
            "mode": "box",
            "unit_of_measurement": "min",
            "state_topic": state,
            "value_template": "{{ " + minutes + " if value_json.state == 'paused' and value_json.until else 0 }}",
            "command_topic": topics.request(node, SwitchRecording.VERB),
            "command_template": "{% set m = value | float(0) %}{" + _ID + ", \"on\": {{ 'false' if m else 'true' }}"
            '{% if m %}, "seconds": {{ (m * 60) | round | int }}{% endif %}}',
            "availability": running,
        },
        "paused_until": {
            "platform": "sensor",
            "name": "Paused until",
            "icon": "mdi:timer-sand",
            "device_class": "timestamp",
            "state_topic": state,
            "value_template": "{{ value_json.until if value_json.state == 'paused' else None }}",
            "availability": running,
        },
        "problem": {
            "platform": "binary_sensor",
            "name": "Recording problem",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "state_topic": state,
            "value_template": "{{ 'OFF' if value_json.state in ('recording', 'paused') and not value_json.input_fault"
            " else 'ON' }}",
            "json_attributes_topic": state,
            "json_attributes_template": "{{ {'state': value_json.state,"
            " 'reason': value_json.reason or value_json.hint, 'input_fault': value_json.input_fault,"
            " 'since': value_json.since, 'device': value_json.device} | tojson }}",
            "availability": running,
        },
        "running": {
            "platform": "binary_sensor",
            "name": "Recorder",
            "device_class": "running",
            "entity_category": "diagnostic",
            "state_topic": RecorderStatus.topic_of(node),
            "value_template": "{{ 'ON' if value_json.state == 'online' else 'OFF' }}",
        },
        "last_gap": {
            "platform": "sensor",
            "name": "Last gap",
            "icon": "mdi:map-marker-path",
            "device_class": "timestamp",
            "entity_category": "diagnostic",
            "state_topic": state,
            "value_template": "{{ value_json.last_gap.to if value_json.last_gap else None }}",
            "json_attributes_topic": state,
            "json_attributes_template": "{{ (value_json.last_gap or {}) | tojson }}",
            "availability": running,
        },
        "rotate": {
            "platform": "button",
            "name": "Start new chunk",
            "object_id": "rotate",
            "icon": "mdi:content-cut",
            "entity_category": "config",
            "command_topic": topics.request(node, Rotate.VERB),
            "command_template": "{" + _ID + "}",
            "availability": running,
        },
        **{f"limit_{metric}": _limit(node, metric, limit) for metric, limit in _limits(unit).items()},
    }


def _archiving(node: str) -> dict[str, Component]:
    common = {
        "state_topic": ArchiverState.topic_of(node),
        "availability": _while_running(node, ArchiverStatus),
    }
    diagnostic = {**common, "entity_category": "diagnostic"}
    return {
        "archive_now": {
            "platform": "button",
            "name": "Archive now",
            "icon": "mdi:cloud-upload",
            "command_topic": topics.request(node, ArchiveNow.VERB),
            "command_template": "{" + _ID + "}",
            "availability": common["availability"],
        },
        "last_archive": {
            **diagnostic,
            "platform": "sensor",
            "name": "Last archive",
            "icon": "mdi:archive-check",
            "device_class": "timestamp",
            "value_template": "{{ value_json.last_archive_at }}",
            "json_attributes_topic": common["state_topic"],
            "json_attributes_template": "{{ {'archive_id': value_json.last_archive} | tojson }}",
        },
        "backlog": {
            **diagnostic,
            "platform": "sensor",
            "name": "Upload backlog",
            "object_id": "backlog",
            "icon": "mdi:tray-full",
            "unit_of_measurement": "chunks",
            "state_class": "measurement",
            "value_template": "{{ value_json.backlog_chunks }}",
        },
        "backlog_size": {
            **diagnostic,
            "platform": "sensor",
            "name": "Upload backlog size",
            "object_id": "backlog_size",
            "device_class": "data_size",
            "unit_of_measurement": "MB",
            "state_class": "measurement",
            "suggested_display_precision": 1,
            "value_template": "{{ value_json.backlog_bytes / 1000000 }}",
        },
        "disk_left": {
            **diagnostic,
            "platform": "sensor",
            "name": "Disk time left",
            "object_id": "disk_left",
            "icon": "mdi:harddisk",
            "device_class": "duration",
            "unit_of_measurement": "h",
            "suggested_display_precision": 0,
            "value_template": "{{ value_json.disk_hours_left }}",
        },
        "upload_blocked": {
            **diagnostic,
            "platform": "binary_sensor",
            "name": "Upload blocked",
            "device_class": "problem",
            "value_template": "{{ 'ON' if value_json.state == 'blocked' else 'OFF' }}",
            "json_attributes_topic": common["state_topic"],
            "json_attributes_template": "{{ {'reason': value_json.reason} | tojson }}",
        },
        "month_cost": {
            **diagnostic,
            "platform": "sensor",
            "name": "Cost this month",
            "icon": "mdi:cash",
            "suggested_display_precision": 2,
            "value_template": "{{ value_json.month_cost }}",
        },
    }


class _Limit(NamedTuple):
    name: str
    object_id: str
    icon: str
    unit: str
    minimum: float
    maximum: float
    step: float


def _limits(unit: LevelUnit) -> dict[Metric, _Limit]:
    return {
        "records_count": _Limit("Archive at chunk count", "archive_at_chunks", "mdi:counter", "chunks", 0, 1e6, 1),
        "storage_usage": _Limit("Archive at size", "archive_at_size", "mdi:database", "MB", 0, 1e6, 1),
        "oldest_age": _Limit("Archive at age", "archive_at_age", "mdi:clock-outline", "s", 0, 1e7, 1),
        "sound_level": _Limit("Sound threshold", "loud_from", "mdi:ear-hearing", unit, -120, 140, 0.5),
        "disk_free": _Limit("Low disk warning", "warn_at_disk_free", "mdi:harddisk", "MB", 0, 1e7, 1),
    }


def _limit(node: str, metric: Metric, limit: _Limit) -> Component:
    return {
        "platform": "number",
        "name": limit.name,
        "object_id": limit.object_id,
        "icon": limit.icon,
        "entity_category": "config",
        "unit_of_measurement": limit.unit,
        "min": limit.minimum,
        "max": limit.maximum,
        "step": limit.step,
        "mode": "box",
        "state_topic": LimitsSet.topic_of(node),
        "value_template": "{{ value_json." + metric + " }}",
        "command_topic": topics.request(node, SetLimit.VERB),
        "command_template": "{" + _ID + ', "metric": "' + metric + '", "limit": {{ value }}}',
        "availability": _while_running(node, RecorderStatus),
    }


def _while_running(node: str, status: type[Event]) -> list[dict[str, str]]:
    return [{"topic": status.topic_of(node), "value_template": "{{ value_json.state }}"}]


def _while_recording(node: str) -> list[dict[str, str]]:
    recording = "{{ 'online' if value_json.state == 'recording' else 'offline' }}"
    return [*_while_running(node, RecorderStatus), {"topic": RecorderState.topic_of(node), "value_template": recording}]


def _slug(name: str) -> str:
    return name.lower().replace(" ", "_")
