"""Home Assistant finds the node by itself: the device discovery payload, made from events, verbs and settings.

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload (Home Assistant 2024.12 and later). Every
state that it reads is retained or comes each second, so that it has them all again after a restart of anything.
"""

from __future__ import annotations

from typing import Any

from edge import __version__
from edge.core import wire
from edge.core.values import LevelUnit
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

_LEVEL_SECONDS = 30  # without a level for that long, nobody knows how loud it is

# Home Assistant's templates cannot make 64 random bits at once; its clock and five digits do as well for one sender
_ID = '"id": "ha-{{ now().timestamp() }}-{{ range(99999) | random }}"'

Component = dict[str, Any]


def discovery_payload(node: str, unit: LevelUnit) -> dict[str, Any]:
    """The whole device. `unit` is that of the levels now: honest units are part of the payload."""
    components = {**_sound(node, unit), **_recording(node, unit), **_archiving(node)}
    slug = node.replace("-", "_")
    for key, component in components.items():
        component["unique_id"] = f"imhearing_{node}_{key}"
        component["default_entity_id"] = f"{component['platform']}.im_hearing_{slug}_{_slug(component['name'])}"
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
    """Keeps the node announced on `bus`: at start, after each connection, and when Home Assistant says `online`."""

    def __init__(self, bus: Bus, node: str, prefix: str) -> None:
        self._bus, self._node, self._prefix = bus, node, prefix
        self._unit: LevelUnit = "dBFS"
        if prefix:
            bus.subscribe_raw(topics.home_assistant_status(prefix), self._home_assistant_said)
            self._announce()
        else:
            bus.retain(topics.discovery(node), b"")

    def unit_is(self, unit: LevelUnit) -> None:
        """The levels are in another unit from now on."""
        if unit != self._unit:
            self._unit = unit
            if self._prefix:
                self._announce()

    def _home_assistant_said(self, message: InboundMessage) -> None:
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
        level["device_class"] = "sound_pressure"  # which knows dB and dBA of pressure, nothing relative to full scale
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
            "name": "Loudest of the last minute",
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
            "name": "Rotate",
            "icon": "mdi:content-cut",
            "entity_category": "config",
            "command_topic": topics.request(node, Rotate.VERB),
            "command_template": "{" + _ID + "}",
            "availability": running,
        },
        **{f"limit_{metric}": _limit(node, metric, *words) for metric, words in _limits(unit).items()},
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
            "name": "Backlog",
            "icon": "mdi:tray-full",
            "unit_of_measurement": "chunks",
            "state_class": "measurement",
            "value_template": "{{ value_json.backlog_chunks }}",
        },
        "backlog_size": {
            **diagnostic,
            "platform": "sensor",
            "name": "Backlog size",
            "device_class": "data_size",
            "unit_of_measurement": "MB",
            "state_class": "measurement",
            "suggested_display_precision": 1,
            "value_template": "{{ value_json.backlog_bytes / 1000000 }}",
        },
        "disk_left": {
            **diagnostic,
            "platform": "sensor",
            "name": "Disk left",
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


def _limits(unit: LevelUnit) -> dict[str, tuple[str, str, str, float, float, float]]:
    """Each metric's name, icon, unit, least, greatest, step."""
    return {
        "records_count": ("Archive at chunks", "mdi:counter", "chunks", 0, 1e6, 1),
        "storage_usage": ("Archive at size", "mdi:database", "MB", 0, 1e6, 1),
        "oldest_age": ("Archive at age", "mdi:clock-outline", "s", 0, 1e7, 1),
        "sound_level": ("Loud from", "mdi:ear-hearing", unit, -120, 140, 0.5),
        "disk_free": ("Warn at disk free", "mdi:harddisk", "MB", 0, 1e7, 1),
    }


def _limit(
    node: str, metric: str, name: str, icon: str, unit: str, least: float, greatest: float, step: float
) -> Component:
    return {
        "platform": "number",
        "name": name,
        "icon": icon,
        "entity_category": "config",
        "unit_of_measurement": unit,
        "min": least,
        "max": greatest,
        "step": step,
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
