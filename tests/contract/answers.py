"""Fixed questions through every door. An answer that is the same through several is written once."""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import TYPE_CHECKING, Any

from query_service.queries.protocol import QUERY_TYPES
from tests.contract import doors
from tests.contract.fixed_spool import at
from tests.contract.output import Output
from tests.contract.redaction import plain_text, without_moment
from tests.support.messaging.mqtt import Client
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.contract.running import Node

_RANGE = {"from": at(0), "to": at(12)}
_JSON = {"Content-Type": "application/json"}
# the same fields through HTTP, MQTT and Ably; an id is added
QUESTIONS: dict[str, dict[str, Any]] = {
    "coverage": {**_RANGE, "urls": False},
    "coverage-links": {**_RANGE, "urls": True},
    "coverage-before-and-cut": {"from": "2026-03-03T21:59:59.5Z", "to": at(2.25), "urls": False},
    "coverage-first-page": {**_RANGE, "urls": False, "limit": 2},
    "coverage-future": {"from": "2996-01-01T00:00:00Z", "to": "2996-01-01T00:00:01Z", "urls": False},
    "states": {"type": "states", **_RANGE},
    "states-first-page": {"type": "states", **_RANGE, "limit": 1},
    "sounds": {"type": "sounds", **_RANGE, "urls": False},
    "sounds-in-order": {"type": "sounds", **_RANGE, "urls": False, "order": "time", "limit": 1},
    "sounds-loud": {"type": "sounds", **_RANGE, "urls": False, "min_level": -64},
    "levels": {"type": "levels", **_RANGE, "step": 2},
    "levels-loudest": {"type": "levels", **_RANGE, "step": 2, "order": "loudest", "limit": 2},
    "levels-one-step": {"type": "levels", **_RANGE, "step": 60},
    "days": {"type": "days", **_RANGE, "zone": "Europe/Berlin"},
    "days-clock-change": {
        "type": "days",
        "from": "2026-03-28T12:00:00Z",
        "to": "2026-03-30T12:00:00Z",
        "zone": "Europe/Berlin",
    },
    "extent": {"type": "extent"},
    "status": {"type": "status"},
    "clip": {"type": "clip", "from": at(0.5), "to": at(8.5), "urls": False},
    "error-unknown-type": {"type": "smells", **_RANGE},
    "error-no-range": {},
    "error-range-backwards": {"from": at(2), "to": at(1)},
    "error-no-time": {"from": "soon", "to": at(1)},
    "error-limit": {**_RANGE, "limit": 0},
    "error-step": {"type": "levels", **_RANGE, "step": 0},
    "error-order": {"type": "sounds", **_RANGE, "order": "alphabetical"},
    "error-zone": {"type": "days", **_RANGE, "zone": "Atlantis"},
    "error-days": {"type": "days", "from": "2020-01-01T00:00:00Z", "to": at(0), "zone": "UTC"},
    "error-cursor": {**_RANGE, "cursor": "made-up"},
    "error-version": {"v": 2, **_RANGE},
    "error-clip-too-long": {"type": "clip", "from": at(0), "to": "2026-03-03T23:00:00Z"},
    "error-clip-without-sound": {"type": "clip", "from": "2026-03-01T00:00:00Z", "to": "2026-03-01T00:00:01Z"},
}
_RAW = {"error-no-json": b"not JSON", "error-no-object": b"[]", "error-no-id": b'{"type": "status"}'}
_BY_ADDRESS = (
    ("GET", f"/coverage?from={at(0)}&to={at(1)}&urls=false"),
    ("GET", f"/states?from={at(0)}&to={at(4)}"),
    ("GET", f"/sounds?from={at(0)}&to={at(3)}&urls=false&order=time"),
    ("GET", f"/levels?from={at(0)}&to={at(4)}&step=4"),
    ("GET", f"/days?from={at(0)}&to={at(4)}&zone=UTC"),
    ("GET", "/extent"),
    ("GET", "/status"),
    ("GET", "/coverage"),
    ("GET", f"/levels?from={at(0)}&to={at(4)}&step=many"),
    ("GET", f"/coverage?from={at(0)}&to={at(1)}&step=4"),
    ("GET", f"/coverage?from={at(0)}&to={at(1)}&limit=1&limit=2"),
    ("GET", f"/clip?from={at(0)}&to={at(1)}"),
    ("GET", "/nothing"),
    ("GET", "/query"),
    ("DELETE", "/status"),
)
_SHOWN_IN_ENVELOPE = ("coverage-future", "error-no-range")
LOCAL: dict[str, tuple[str, ...]] = {
    "coverage": (),
    "states": ("--type", "states"),
    "sounds": ("--type", "sounds"),
    "levels": ("--type", "levels", "--step", "2"),
    "days": ("--type", "days", "--zone", "Europe/Berlin"),
    "extent": ("--type", "extent"),
    "status": ("--type", "status"),
    "clip": ("--type", "clip"),
}


def write(output: Output, node: Node, mqtt: Client) -> None:
    questions = {name: _encoded(name, fields) for name, fields in QUESTIONS.items()} | _RAW
    responses = doors.over_mqtt(mqtt, questions)
    by_door = {
        "http": {name: _post(node, question) for name, question in questions.items()},
        "mqtt": {name: _out_of_envelope(response) for name, response in responses.items()},
        "ably": _ably(node, questions),
    }
    output.json("mqtt/query-responses.json", {name: _readable(responses[name]) for name in _SHOWN_IN_ENVELOPE})
    same = []
    for name, question in questions.items():
        answers = {door: _readable(answers[name]) for door, answers in by_door.items()}
        sent = _readable(question)
        output.json(f"answers/{name}.json", {"question": sent, "answer": answers["http"]})
        others = [door for door, answer in answers.items() if answer != answers["http"]]
        for door in others:
            output.json(f"answers/{name}.{door}.json", {"question": sent, "answer": answers[door]})
        same.append(f"{name}: {' '.join(door for door in answers if door not in others)}")
    output.lines("answers/same-through.txt", same)
    _write_pages(output, node)
    _write_http(output, node)
    _write_command_line(output, node)


def wait_until_noticed(node: Node, mqtt: Client, chunks: list[dict[str, Any]]) -> None:
    """Until the archiver knows of `chunks` and has published it, and the recorder is paused.

    They are announced as the recorder does, and again, since the archiver may not be listening yet.
    """
    polls = itertools.count()

    def noticed() -> bool:
        number = next(polls)
        for manifest in chunks if number % 100 == 0 else []:
            levels = {**manifest["levels"], "per_second": []}
            notice = {"at": manifest["ended_at"], **manifest, "levels": levels}
            mqtt.publish("imhearing/porch/recorder/chunk", json.dumps(notice))
        answer = json.loads(_post(node, _encoded(f"wait-{number}", {"type": "status"})))
        states = [json.loads(each.payload) for each in mqtt.messages_on("imhearing/porch/archiver/state")]
        spool = {"chunks": 2, "bytes": answer["spool"]["bytes"], "unknown_to_catalog": 0}
        paused = answer["recorder"]["state"] == "paused"
        return bool(paused and answer["spool"] == spool and states and states[-1]["backlog_chunks"] == 2)

    wait_until(noticed, "two chunks wait in the spool and the recorder is paused", 120)


def _encoded(name: str, fields: dict[str, Any]) -> bytes:
    return json.dumps({"id": f"contract-{name}", **fields}).encode()


def _out_of_envelope(response: bytes) -> bytes:
    """What the other doors answer."""
    envelope = json.loads(response)
    refusal = {"v": 1, "id": envelope["id"], "node": "porch", "ok": False, "error": envelope["error"]}
    return json.dumps(envelope["data"] if envelope["ok"] else refusal).encode()


def _readable(data: bytes) -> Any:
    try:
        return without_moment(json.loads(data))
    except ValueError:
        return data.decode()


def _post(node: Node, question: bytes) -> bytes:
    return doors.over_http(node.ports["http_port"], "POST", "/query", question, _JSON).body


def _ably(node: Node, questions: dict[str, bytes]) -> dict[str, bytes]:
    token = node.run("token", "--client", "ann", "--ttl", "1h").out.strip()
    return doors.over_ably(f"127.0.0.1:{node.ports['realtime_port']}", token, "ann", questions)


def _write_pages(output: Output, node: Node) -> None:
    """A whole range, two at a time: each page's cursor leads to the next."""
    for kind in (name for name, query_type in QUERY_TYPES.items() if query_type.joins):
        pages: list[Any] = []
        cursor = None
        while True:
            fields = {
                "type": kind,
                **_RANGE,
                "zone": "UTC",
                "urls": False,
                "limit": 1 if kind == "sounds" else 2,
                "step": 2,
            }
            page = _readable(_post(node, _encoded(f"page-{len(pages)}", {**fields, "cursor": cursor})))
            pages.append(page)
            cursor = page["next"]
            if cursor is None:
                break
        output.json(f"answers/pages/{kind}.json", pages)


def _write_http(output: Output, node: Node) -> None:
    """What only HTTP has: addresses, status codes, headers, the description."""
    port = node.ports["http_port"]
    exchanges = [_exchange(port, method, address) for method, address in _BY_ADDRESS]
    exchanges += [_exchange(port, "POST", "/query", b"{}", {"Content-Type": "text/plain"})]
    exchanges += [_exchange(port, "POST", "/query", _encoded(name, QUESTIONS[name]), _JSON) for name in QUESTIONS]
    exchanges += [_exchange(port, "POST", "/query", b" " * 70_000, _JSON)]
    exchanges += [_exchange(port, "GET", "/status", headers={"Host": "porch.example"})]
    exchanges += [_exchange(port, "GET", "/status", headers={"Origin": "https://elsewhere.example"})]
    output.json("http.json", exchanges)
    output.json("openapi.json", json.loads(doors.over_http(port, "GET", "/openapi.json").body))


def _exchange(
    port: int, method: str, address: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    answer = doors.over_http(port, method, address, body, headers)
    content = "" if body is None else f" {len(body)} bytes" if len(body) > 1_000 else f" {body.decode()}"
    received = {
        name: value for name, value in answer.headers.items() if name not in ("Date", "Content-Length", "Server")
    }
    described = {
        "request": f"{method} {address}{content}",
        "request_headers": headers or {},
        "status": answer.status,
        "response_headers": received,
    }
    if method == "GET":  # the answers to POST are in files of their own
        described["body"] = _readable(answer.body)
    return described


def _write_command_line(output: Output, node: Node) -> None:
    """`imhearing query --via local`: JSON for programs, text for people; and the sound itself."""
    span = ("--from", at(0), "--to", at(12))
    for name, options in LOCAL.items():
        times = ("--from", at(0.5), "--to", at(8.5)) if name == "clip" else span
        ended = node.run("query", *times, *options, "--json")
        output.json(f"command-line/{name}.json", _readable(ended.out.encode()))
        shown = node.run("query", *times, *options, "--utc")
        if name not in ("status", "clip"):
            output.text(f"command-line/{name}.txt", plain_text(shown.out + shown.err))
    status = node.run("status", "--json")
    output.json("command-line/node-status.json", _readable(status.out.encode()))
    target = node.data / "heard.wav"
    for gaps in ("silence", "skip", "refuse"):
        ended = node.run("fetch", "--from", at(1.5), "--to", at(8.5), "-o", str(target), "--gaps", gaps)
        output.text(f"command-line/fetch-{gaps}.txt", _fetched(ended, node, target))
        target.unlink(missing_ok=True)


def _fetched(ended: Any, node: Node, target: Any) -> str:
    data = target.read_bytes() if target.exists() else b""
    text = plain_text((ended.out + ended.err).replace(str(node.data), "<data>"))
    return f"exit code {ended.code}\n{len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}\n{text}"
