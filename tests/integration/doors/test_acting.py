"""What the page's owner orders over HTTP, through a broker with the node's access rules, to recorder and archiver."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, OpenerDirector, build_opener

import pytest
from msgspec.structs import replace

from edge.configuration.settings import Http
from edge.core import wire
from edge.embedded import ports
from edge.messaging import topics
from edge.messaging.events import Response
from edge.messaging.owner_proof import make_proof, signing_key
from query_service.page.codes import make_code
from query_service.queries.openapi import ACTIONS
from tests.support.messaging.http_door import TOKEN
from tests.support.messaging.mqtt import connected
from tests.support.nodes.acting_node import HTTP, KEY, OWNER_KEY, PASSWORDS, ActingNode, acting_node
from tests.support.nodes.query_node import QueryNode, running_service
from tests.support.store.s3 import RunningStore
from tests.support.wait import DEADLINE, wait_until

RANGE = {"from": "2026-03-03T22:00:01Z", "to": "2026-03-03T22:00:02Z"}
HELD = {"from": "2026-03-03T22:00:01.000000Z", "to": "2026-03-03T22:00:02.000000Z"}
BODIES: dict[str, dict[str, Any]] = {"/pause": {"seconds": 60}, "/forget": RANGE}
JSON = "application/json"


@pytest.fixture(scope="module")
def node(store: RunningStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ActingNode]:
    http = replace(HTTP, port=ports.choose(None), token=TOKEN)
    with acting_node(tmp_path_factory.mktemp("node"), store.settings, http) as made:
        yield made


class Visitor:
    """A browser that has opened the page, or a program."""

    def __init__(self, http: Http, role: str | None = None) -> None:
        self.url = f"http://127.0.0.1:{http.port}"
        self.cookies = CookieJar()
        self._opener: OpenerDirector = build_opener(HTTPCookieProcessor(self.cookies))
        if role is not None:
            status, answer = self.post("/session", {"password": PASSWORDS[role]})
            assert (status, answer["role"]) == (200, role)

    def post(self, path: str, body: dict[str, Any] | bytes, **headers: str | None) -> tuple[int, dict[str, Any]]:
        """The status, and the answer if that is JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"Origin": self.url, "Content-Type": JSON, **named}
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}{path}", data, {name: value for name, value in sent.items() if value is not None}
        )
        try:
            with self._opener.open(request, timeout=DEADLINE) as response:
                return response.status, json.loads(response.read())
        except HTTPError as refused:
            text = refused.read()
            return refused.code, json.loads(text) if refused.headers["Content-Type"].startswith(JSON) else {}

    def done(self, path: str, body: dict[str, Any], **headers: str | None) -> dict[str, Any]:
        status, answer = self.post(path, body, **headers)
        assert status == 200, answer
        assert (answer["ok"], answer["error"]) == (True, None)
        data: dict[str, Any] = answer["data"]
        return data


@pytest.fixture(scope="module")
def owner(node: ActingNode) -> Visitor:
    wait_until(lambda: ports.answers(node.settings.http.port), "the door is open")
    return Visitor(node.settings.http, "owner")


def error_of(answer: dict[str, Any]) -> tuple[str, str | None]:
    assert answer["ok"] is False
    assert answer["error"]["message"]
    return answer["error"]["code"], answer["error"].get("field")


# who may


@pytest.mark.parametrize("path", ACTIONS)
def test_nobody_but_the_owner_may_act(node: ActingNode, owner: Visitor, path: str) -> None:
    http = node.settings.http
    assert Visitor(http).post(path, BODIES.get(path, {}))[0] == 401
    status, answer = Visitor(http, "viewer").post(path, BODIES.get(path, {}))
    assert (status, error_of(answer)) == (403, ("forbidden", None))
    assert node.recorder_state() == "recording"


@pytest.mark.parametrize("path", ACTIONS)
@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:1", "http://localhost:{port}", "http://evil.example", "null", None]
)
def test_other_pages_cannot_act_with_the_owners_session(
    node: ActingNode, owner: Visitor, path: str, origin: str | None
) -> None:
    other = origin and origin.format(port=node.settings.http.port)
    assert owner.post(path, BODIES.get(path, {}), Origin=other)[0] == 401
    assert owner.post(path, BODIES.get(path, {}), Content_Type="text/plain")[0] == 415
    assert node.recorder_state() == "recording"


@pytest.mark.parametrize("path", ACTIONS)
def test_a_session_without_a_proof_cannot_act(node: ActingNode, owner: Visitor, path: str) -> None:
    visitor = Visitor(node.settings.http)
    assert visitor.post("/session", {"code": make_code(KEY, time.time(), "0.0.0")})[0] == 200
    status, answer = visitor.post(path, BODIES.get(path, {}))
    assert (status, error_of(answer)) == (403, ("forbidden", "proof"))
    assert node.recorder_state() == "recording"


def test_a_program_acts_with_the_token_and_a_proof(node: ActingNode, owner: Visitor) -> None:
    program, token = Visitor(node.settings.http), f"Bearer {TOKEN.reveal()}"
    proof = make_proof(signing_key(OWNER_KEY), time.time())
    assert program.post("/hold", {}, Authorization=token)[0] == 403
    assert program.post("/hold", {"proof": proof})[0] == 401
    assert program.done("/hold", {"proof": proof}, Authorization=token, Origin=None) == {"holds": [], "omitted": 0}


def test_a_query_service_that_is_taken_over_can_command_nothing(node: ActingNode, owner: Visitor) -> None:
    """It has its broker account, the key of codes, the HTTP token and the hashes of passwords."""
    http = node.settings.http
    known = [KEY, TOKEN.reveal(), *http.owner_password.reveal().split(":"), node.broker.passwords["page"]]
    proofs = ["", *known, *(make_proof(each, time.time()) for each in known)]
    proofs += [make_proof(signing_key(each), time.time()) for each in known]
    with connected(*node.broker.login("page")) as page:
        page.subscribe(topics.response("porch", topics.owners("#")))
        for path in ACTIONS:
            request = topics.request("porch", topics.owners(path[1:]))
            for number, proof in enumerate(proofs):
                command = {"id": f"taken-over-{number}", "proof": proof, **BODIES.get(path, {})}
                assert page.publish(request, json.dumps(command)) in (0, 16)
        wait_until(lambda: len(page.received) >= len(ACTIONS) * len(proofs), "every command is answered")
        answers = [wire.decode(message.payload, Response) for message in page.received]
    assert {answer.error and answer.error.code for answer in answers} == {"forbidden"}
    assert node.recorder_state() == "recording"


# what comes of it


def test_recording_pauses_until_a_time_and_resumes(node: ActingNode, owner: Visitor) -> None:
    assert owner.done("/pause", {"seconds": 60})["until"]
    node.wait_for_state("paused")
    assert owner.done("/resume", {}) == {}
    node.wait_for_state("recording")
    assert owner.done("/pause", {}) == {"until": None}
    node.wait_for_state("paused")
    assert owner.done("/rotate", {})["state"] == "paused"
    owner.done("/resume", {})
    node.wait_for_state("recording")
    wait_until(lambda: owner.done("/rotate", {}) == {}, "a chunk is being recorded")


def test_a_command_repeated_with_its_id_is_carried_out_once(owner: Visitor) -> None:
    body = {"id": "0123456789abcdef", "seconds": 60}
    first = owner.done("/pause", body)
    assert owner.done("/pause", body) == first
    owner.done("/resume", {})


def test_a_range_is_kept_for_ever_until_it_is_released(owner: Visitor) -> None:
    assert owner.done("/hold", RANGE) == {"holds": [HELD], "omitted": 0}
    status, answer = owner.post("/forget", {**RANGE, "to": "2026-03-03T22:00:05Z"})
    assert (status, error_of(answer)) == (409, ("on_hold", None))
    assert "imhearing hold --release" in answer["error"]["message"]
    assert owner.done("/hold", {}) == {"holds": [HELD], "omitted": 0}
    assert owner.done("/hold", {**RANGE, "release": True}) == {"holds": [], "omitted": 0}


def test_what_is_forgotten_is_gone_from_spool_and_store(node: ActingNode, owner: Visitor, store: RunningStore) -> None:
    """The range has a part of what is archived, and of what is not."""
    sound = {"from": "2026-03-03T22:00:02Z", "to": "2026-03-03T22:00:04Z"}
    order = owner.done("/forget", sound)
    assert (order["state"], order["remaining"]) == ("open", 2)
    owner.done("/rotate", {})
    wait_until(lambda: owner.done("/forget", {"order": order["order"]})["state"] != "open", "the order ends")
    ended = owner.done("/forget", {"order": order["order"]})
    assert ended == {"order": order["order"], "remaining": 0, "state": "done", "chunks": 2, "reason": None}
    archives = [path.read_bytes() for path in store.folder.rglob("*.zip")]
    third, fourth, fifth = sorted(node.sound.audio)[2:5]
    assert not any(node.sound.audio[third] in archive for archive in archives)
    spooled = {path.name.split(".")[0] for path in node.settings.recorder.record_path.glob("*.flac")}
    assert fourth not in spooled
    assert fifth in spooled


def test_all_finished_chunks_are_archived_now(node: ActingNode, owner: Visitor) -> None:
    data = owner.done("/archive", {})
    assert data["chunks"] + len(data["archives"]) > 0
    last = sorted(node.sound.audio)[-1]
    folder = node.settings.recorder.record_path
    wait_until(lambda: not list(folder.glob(f"{last}.*")), "the chunk is in the store")


# hostile fields


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/pause", b"", 400, None),
        ("/pause", b"[]", 400, None),
        ("/pause", b"\xff", 400, None),
        ("/pause", b"[" * 5_000, 400, None),
        ("/pause", b"{" + b" " * 9_000 + b"}", 413, None),
        ("/pause", {"seconds": "long"}, 400, "seconds"),
        ("/pause", {"seconds": 1e300}, 400, "seconds"),
        ("/pause", {"id": "short"}, 400, "id"),
        ("/pause", {"proof": 7}, 400, "proof"),
        ("/pause?seconds=60", {}, 400, "seconds"),
        ("/hold", {"from": "yesterday", "to": RANGE["to"]}, 400, "from"),
        ("/hold", {"from": RANGE["from"]}, 400, "to"),
        ("/hold", {"to": RANGE["to"]}, 400, "from"),
        ("/hold", {"release": True}, 400, "from"),
        ("/hold", {"from": RANGE["to"], "to": RANGE["from"]}, 400, "from"),
        ("/hold", {**RANGE, "release": "yes"}, 400, "release"),
        ("/forget", {}, 400, "from"),
        ("/forget", {"from": RANGE["from"], "to": RANGE["from"]}, 400, "from"),
        ("/forget", {"from": RANGE["from"], "to": "9999-12-31T00:00:00Z"}, 400, "to"),
        ("/forget", {"order": "../../etc/passwd"}, 400, "order"),
        ("/forget", {"order": "0123456789abcdef\n"}, 400, "order"),
        ("/forget", {"order": "0123456789abcdef"}, 400, "order"),
        ("/forget", {**RANGE, "order": "0123456789abcdef"}, 400, "order"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    node: ActingNode, owner: Visitor, path: str, body: dict[str, Any] | bytes, status: int, field: str | None
) -> None:
    found, answer = owner.post(path, body)
    assert (found, error_of(answer)) == (status, ("bad_request", field)), answer
    node.wait_for_state("recording")  # an earlier test may just have resumed; a pause would last
    assert owner.done("/hold", {}) == {"holds": [], "omitted": 0}


# trouble


def test_who_does_not_run_is_named(node: ActingNode, store: RunningStore, tmp_path: Path) -> None:
    settings = replace(
        QueryNode(tmp_path).with_doors(mqtt=node.broker.settings, s3=store.settings),
        http=replace(HTTP, port=ports.choose(None)),
    )
    silent = replace(settings, node=replace(settings.node, name="shed"))  # nobody hears its topics
    with running_service(silent):
        wait_until(lambda: ports.answers(settings.http.port), "the door is open")
        visitor = Visitor(settings.http, "owner")
        for path, by in (("/pause", "recorder"), ("/forget", "archiver")):
            status, answer = visitor.post(path, BODIES[path])
            assert (status, error_of(answer)) == (504, ("deadline", None))
            assert by in answer["error"]["message"]


def test_a_broker_that_is_away_is_named(store: RunningStore, tmp_path: Path) -> None:
    http = replace(HTTP, port=ports.choose(None))
    made = QueryNode(tmp_path).with_doors(s3=store.settings)
    nobody = ports.choose(None)
    with running_service(replace(made, http=http, mqtt=replace(made.mqtt, host="127.0.0.1", port=nobody))):
        wait_until(lambda: ports.answers(http.port), "the door is open")
        status, answer = Visitor(http, "owner").post("/pause", {})
        assert (status, error_of(answer)) == (504, ("deadline", None))
        assert f"127.0.0.1:{nobody}" in answer["error"]["message"]


def test_a_node_without_a_broker_takes_no_commands(store: RunningStore, tmp_path: Path) -> None:
    http = replace(HTTP, port=ports.choose(None))
    with running_service(replace(QueryNode(tmp_path).with_doors(s3=store.settings), http=http)):
        wait_until(lambda: ports.answers(http.port), "the door is open")
        status, answer = Visitor(http, "owner").post("/pause", {})
        assert (status, error_of(answer)) == (404, ("bad_request", None))
