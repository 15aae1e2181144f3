"""The same questions through each door: as users ask them, or, over HTTP and MQTT, as any program would."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.campaigns.node.node import Node
from tests.support.messaging.mqtt import connected

LISTS = {"coverage": "intervals", "sounds": "sounds", "levels": "levels"}
_FIELDS: dict[str, dict[str, Any]] = {"coverage": {"urls": False}, "sounds": {"order": "time"}, "levels": {"step": 1}}
_MQTT_SECONDS = 30.0
_TOPIC = "imhearing/porch/{}/query"

Request = dict[str, Any]
Answer = dict[str, Any]


def ask_everywhere(node: Node, start: str, end: str) -> dict[str, dict[str, Any]]:
    """type -> door -> the answer's JSON, all its pages as one; a string says why there is none."""
    with ThreadPoolExecutor(2) as pool:
        asked = [
            (kind, door, pool.submit(ask, node, kind, start, end)) for kind in LISTS for door, ask in _DOORS.items()
        ]
        answers: dict[str, dict[str, Any]] = {kind: {} for kind in LISTS}
        for kind, door, answer in asked:
            answers[kind][door] = answer.result()
    return answers


def _command(via: str) -> Callable[[Node, str, str, str], Answer | str]:
    def ask(node: Node, kind: str, start: str, end: str) -> Answer | str:
        own = {"sounds": ["--order", "time"], "levels": ["--step", "1"]}
        done = node.command(
            "query", "--json", "--type", kind, "--via", via, "--node", "porch", "--timeout", "40",
            "--from", start, "--to", end, *own.get(kind, []),
        )  # fmt: skip
        if done.returncode != 0:
            return f"exit code {done.returncode}: {done.stderr}"
        answer: Answer = json.loads(done.stdout)
        return answer

    return ask


def _http(node: Node, kind: str, start: str, end: str) -> Answer | str:
    def send(request: Request) -> Answer | None:
        fields = {
            k: json.dumps(v).strip('"') for k, v in request.items() if k not in ("id", "v", "type") and v is not None
        }
        return node.get(kind, **{f"{key}_": value for key, value in fields.items()})

    return _paged(send, kind, start, end)


def _mqtt(node: Node, kind: str, start: str, end: str) -> Answer | str:
    with connected(node.broker_port) as client:
        client.subscribe(_TOPIC.format("response"))

        def send(request: Request) -> Answer | None:
            client.publish(_TOPIC.format("request"), json.dumps(request))
            wanted = request["id"].encode()
            heard = client.wait_for_message(
                _TOPIC.format("response"), lambda message: wanted in message.payload, _MQTT_SECONDS
            )
            response = json.loads(heard.payload)
            answer: Answer = response["data"] if response["ok"] else response
            return answer

        try:
            return _paged(send, kind, start, end)
        except AssertionError as problem:
            return str(problem)


def _paged(send: Callable[[Request], Answer | None], kind: str, start: str, end: str) -> Answer | str:
    whole: Answer = {}
    cursor = None
    while True:
        page = send(
            {"v": 1, "id": uuid.uuid4().hex, "type": kind, "from": start, "to": end, "cursor": cursor, **_FIELDS[kind]}
        )
        if page is None or not page["ok"]:
            return f"no answer: {page}"
        if whole:
            whole[LISTS[kind]] += page[LISTS[kind]]
        else:
            whole = page
        cursor = page.get("next")
        if cursor is None:
            return whole


ask_locally = _command("local")

_DOORS: dict[str, Callable[[Node, str, str, str], Answer | str]] = {
    "local": ask_locally,
    "ably": _command("ably"),
    "http": _http,
    "mqtt": _mqtt,
}
