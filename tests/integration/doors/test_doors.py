"""All doors of one running node: the same answers through each, and one clear answer to whatever comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args
from urllib.error import HTTPError
from urllib.parse import urlencode

import aiohttp
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.configuration.settings import Http, Mqtt, Secret, Settings
from edge.core.errors import ConfigError, DoorError, QueryRefused
from edge.core.instant import Instant
from edge.core.values import SpoolState
from edge.embedded import ports
from query_service import api
from query_service.api import Via
from query_service.client.paging import query_node
from query_service.doors.http import HttpDoor, check_settings
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.protocol import Answer, Request, new_id, read_answer, read_request
from query_service.queries.status import StatusAnswer
from query_service.queries.values import MAX_REQUEST, ErrorAnswer, refusal
from tests.integration.doors.test_ably import raw_client, serving
from tests.support import realtime
from tests.support.broker import BrokerAddress, running_broker
from tests.support.chunks import START
from tests.support.mqtt import connected
from tests.support.query_node import QueryNode, running_service
from tests.support.realtime import in_loop, server_in_thread
from tests.support.wait import DEADLINE

SECOND = 1_000_000
END = Instant(START + 5 * SECOND)
VIAS: tuple[Via, ...] = get_args(Via)
TOPIC = "imhearing/porch/request/query"
JSON = {"Content-Type": "application/json"}


class RunningNode(NamedTuple):
    settings: Settings
    broker: BrokerAddress
    server: Any

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.http.port}"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with server_in_thread() as server, running_broker() as broker:
        made = QueryNode(tmp_path_factory.mktemp("node")).with_doors(server, Mqtt(host=broker.host, port=broker.port))
        settings = replace(made, http=Http(port=ports.choose(None)))
        with running_service(settings):
            api.query(settings, "http", type="status")
            api.query(settings, "mqtt", type="status")
            api.query(settings, "ably", type="status")
            yield RunningNode(settings, broker, server)


@pytest.mark.parametrize("via", VIAS)
def test_the_answer_is_the_same_through_every_door(node: RunningNode, via: Via) -> None:
    here = api.query(node.settings, "local", start=Instant(START - SECOND), end=END)
    there = api.query(node.settings, via, start=Instant(START - SECOND), end=END, limit=2)
    assert isinstance(here, CoverageAnswer)
    assert isinstance(there, CoverageAnswer)
    assert there.intervals == here.intervals
    assert len(there.intervals) == 6


@pytest.mark.parametrize("via", VIAS)
def test_a_no_reaches_the_caller_through_every_door(node: RunningNode, via: Via) -> None:
    with pytest.raises(QueryRefused, match="from must be before to") as refused:
        api.query(node.settings, via, start=END, end=START)
    assert (refused.value.code, refused.value.field) == ("bad_request", "from")
    assert isinstance(api.query(node.settings, via, type="status"), StatusAnswer)


@pytest.mark.parametrize("via", VIAS)
def test_ten_years_and_a_billion_are_no_trouble(node: RunningNode, via: Via) -> None:
    end = Instant(START + 10 * 365 * 86_400 * SECOND)
    answer = api.query(node.settings, via, start=START, end=end, limit=10**9)
    assert isinstance(answer, CoverageAnswer)
    assert (answer.intervals[0].from_, answer.intervals[-1].to) == (START, end)


@pytest.mark.parametrize("via", VIAS)
def test_cursors_made_up_or_of_another_question_are_refused(node: RunningNode, via: Via) -> None:
    async def run() -> None:
        async with api.connect(node.settings, via) as door:
            page = await door.query(Request(id=new_id(), from_=START, to=END, limit=1), 10)
            assert isinstance(page, CoverageAnswer)
            for cursor in ("made-up", "", "x" * 512, "%%%", page.next):
                asked = Request(id=new_id(), from_=Instant(START + 1), to=END, cursor=cursor)
                refused = await door.query(asked, 10)
                assert isinstance(refused, ErrorAnswer)
                assert (refused.error.code, refused.error.field) == ("bad_request", "cursor")

    asyncio.run(run())


def test_an_mqtt_answer_goes_where_it_is_wanted(node: RunningNode) -> None:
    with connected(node.broker.port) as mqtt:
        mqtt.subscribe("imhearing/porch/response/#")
        question = {"id": secrets.token_hex(8), "from": str(START), "to": str(END)}
        mqtt.publish(TOPIC, json.dumps(question), correlation=b"mine")
        heard = mqtt.await_on("imhearing/porch/response/query")
        plain = json.loads(heard.payload)
        assert (plain["id"], plain["ok"], len(plain["intervals"])) == (question["id"], True, 5)
        assert (heard.correlation, heard.retained) == (b"mine", False)

        own = "imhearing/porch/response/query/me"
        mqtt.publish(TOPIC, json.dumps(question), response_topic=own, correlation=b"\x00\xff")
        assert mqtt.await_on(own).payload == heard.payload
        assert mqtt.await_on(own).correlation == b"\x00\xff"

        mqtt.publish(TOPIC, json.dumps({**question, "limit": 1}), response_topic=own)
        refused = mqtt.await_on(own, lambda each: b"another request" in each.payload)
        assert json.loads(refused.payload)["error"]["code"] == "bad_request"

        mqtt.publish(
            TOPIC, json.dumps({**question, "id": "elsewhere"}), response_topic="imhearing/attic/response/query"
        )
        refused = mqtt.await_on("imhearing/porch/response/query", lambda each: b"elsewhere" in each.payload)
        assert json.loads(refused.payload)["error"]["field"] == "response_topic"

        mqtt.publish(TOPIC, json.dumps({**question, "id": "retained"}), retain=True)
        mqtt.publish(TOPIC, b"", retain=True)
        mqtt.publish(TOPIC, json.dumps({**question, "id": "the last"}))
        mqtt.await_on("imhearing/porch/response/query", lambda each: b"the last" in each.payload)
        assert not [each for each in mqtt.heard if b'"retained"' in each.payload]


def test_links_cross_mqtt_only_when_they_are_asked_for() -> None:
    text = json.dumps({"id": "x", "from": str(START), "to": str(END)})
    for urls in (True, False):
        request = read_request(text, "porch", urls=urls)
        assert isinstance(request, Request)
        assert request.urls is urls
    asked = read_request(text.replace('"x"', '"x", "urls": true'), "porch", urls=False)
    assert isinstance(asked, Request)
    assert asked.urls


def test_a_broker_that_is_away_is_named(node: RunningNode) -> None:
    gone = replace(node.settings, mqtt=Mqtt(host="127.0.0.1", port=ports.choose(None)))
    with pytest.raises(DoorError, match="cannot connect to the MQTT broker"):
        api.query(gone, "mqtt", type="status", timeout=1)
    with pytest.raises(DoorError, match="node attic gave no answer"):
        api.query(node.settings, "mqtt", type="status", node="attic", timeout=3)
    with pytest.raises(ConfigError, match=r"\[mqtt\] host"):
        api.query(replace(node.settings, mqtt=Mqtt()), "mqtt", type="status")


def get(url: str, data: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    try:
        asked = urllib.request.Request(url, data, headers)  # noqa: S310
        with urllib.request.urlopen(asked, timeout=DEADLINE) as response:  # noqa: S310
            return response.status, dict(response.headers), response.read()
    except HTTPError as refused:
        return refused.code, dict(refused.headers), refused.read()


def test_get_is_for_the_hand(node: RunningNode) -> None:
    status, headers, body = get(f"{node.url}/coverage?from=2026-03-03T22:00:00Z&to=2026-03-03T23:00:05%2B01:00&limit=2")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert len(json.loads(body)["intervals"]) == 2
    unescaped, _, body = get(f"{node.url}/levels?from=2026-03-03T23:00:00+01:00&to=2026-03-03T22:00:05Z&step=1&urls=no")
    assert unescaped == 200
    assert len(json.loads(body)["levels"]) == 5
    for address, code, field in (
        ("/coverage", 400, "from"),
        ("/coverage?from=x&to=y", 400, "from"),
        ("/coverage?from=2026-03-03T22:00:00Z&to=2026-03-03T22:00:05Z&limit=many", 400, "limit"),
        ("/sounds?from=2026-03-03T22:00:00Z&to=2026-03-03T22:00:05Z&min_level=nan", 400, "min_level"),
        ("/nothing", 404, None),
        ("/query", 405, None),
    ):
        status, _, body = get(node.url + address)
        answer = read_answer(body)
        assert isinstance(answer, ErrorAnswer)
        assert (status, answer.error.field) == (code, field), address


def test_metrics_are_told(node: RunningNode) -> None:
    status, headers, body = get(f"{node.url}/metrics")
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
    assert b'imhearing_info{node="porch"' in body
    assert b"imhearing_spool_chunks 5" in body


def test_what_openapi_says_holds(node: RunningNode) -> None:
    status, _, body = get(f"{node.url}/openapi.json")
    described = json.loads(body)
    assert (status, described["openapi"]) == (200, "3.1.0")
    assert set(described["paths"]) == {
        f"/{name}" for name in ("query", "metrics", "coverage", "sounds", "levels", "status")
    }
    schemas = described["components"]["schemas"]
    assert set(re.findall(r"#/components/schemas/(\w+)", body.decode())) <= schemas.keys()
    answer = json.loads(get(f"{node.url}/coverage?from={START}&to={END}")[2])
    schema = described["paths"]["/coverage"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    whole = schemas[schema["$ref"].rpartition("/")[2]]
    always = whole["properties"].keys() - {"incomplete"}  # which is there only while something cannot be read
    assert set(whole["required"]) <= answer.keys() == always
    pending = schemas["Pending"]
    assert set(pending["required"]) <= answer["intervals"][0].keys() <= pending["properties"].keys()
    names = {item["name"] for item in described["paths"]["/coverage"]["get"]["parameters"]}
    assert names == {"from", "to", "limit", "cursor", "urls"}


def test_a_page_in_a_browser_cannot_ask_by_another_name(node: RunningNode) -> None:
    assert get(f"{node.url}/status", Host="evil.example.org")[0] == 403
    for host in ("localhost:80", "[::1]:80", "127.0.0.1"):
        status, headers, _ = get(f"{node.url}/status", Host=host)
        assert status == 200
        assert not [name for name in headers if name.lower().startswith("access-control")]


@contextlib.asynccontextmanager
async def made_up_door(settings: Http, answer: Any = None) -> Any:
    async def made_up(request: Request) -> Answer:
        return refusal(request.id, "porch", "encrypted", "made up")

    door = HttpDoor("porch", answer or made_up, replace(settings, port=0))
    async with door.open():
        yield door.address


TOKEN = Secret("0123456789abcdef-token")


@in_loop
async def test_without_the_token_nothing_is_told() -> None:
    async with made_up_door(Http(token=TOKEN)) as url, aiohttp.ClientSession() as session:
        for given in (None, "", "Bearer", "Bearer wrong", "Basic " + TOKEN.reveal(), "Bearer \udcff", TOKEN.reveal()):
            headers = {} if given is None else {"Authorization": given}
            for path in ("/status", "/metrics", "/openapi.json", "/nothing"):
                async with session.get(url + path, headers=headers) as response:
                    body = await response.text()
                    assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
                    assert body == "the token is missing or wrong\n"
        async with session.get(f"{url}/status", headers={"Authorization": f"bearer {TOKEN.reveal()}"}) as response:
            assert response.status == 422
        port = int(url.rpartition(":")[2])
        settings = Settings(http=Http(port=port, token=Secret("another token of some length")))
        async with api.connect(settings, "http", node="porch") as way:
            with pytest.raises(DoorError, match="token"):
                await way.query(Request(id="x", type="status"), 5)
        settings = replace(settings, http=Http(port=port, token=TOKEN))
        async with api.connect(settings, "http", node="attic") as way:
            with pytest.raises(DoorError, match="is the door of porch, not of attic"):
                await way.query(Request(id="x", type="status"), 5)


@in_loop
async def test_a_node_that_is_not_there_is_told_in_plain_words() -> None:
    port = ports.choose(None)
    async with api.connect(Settings(http=Http(port=port)), "http", node="porch") as way:
        with pytest.raises(DoorError) as caught:
            await way.query(Request(id="x", type="status"), 2)
    assert str(caught.value) == (
        f"http://127.0.0.1:{port}/query: no answer within 2 s (connection refused);"
        " the node must be running: start `imhearing up` with the same --data"
    )


def test_the_status_tells_until_when_a_pause_lasts(tmp_path: Path) -> None:
    made = QueryNode(tmp_path, chunks=0)
    until = Instant(END + 600 * SECOND)
    told = SpoolState(state="paused", since=END, until=until, boot_id="a", ordinal=1)
    made.spool.state.write(told)
    answer = api.query(made.settings, "local", type="status")
    assert isinstance(answer, StatusAnswer)
    assert (answer.recorder.state, answer.recorder.until) == ("paused", until)
    made.spool.state.write(replace(told, state="stopped", until=None))
    answer = api.query(made.settings, "local", type="status")
    assert isinstance(answer, StatusAnswer)
    assert answer.recorder.until is None


def test_beyond_loopback_a_token_is_needed() -> None:
    for host in ("0.0.0.0", "192.168.1.5", "::", "porch.local"):  # noqa: S104
        with pytest.raises(ConfigError, match=r"\[http\] host"):
            check_settings(Http(host=host))
        check_settings(Http(host=host, token=TOKEN))
    for host in ("127.0.0.1", "::1", "localhost"):
        check_settings(Http(host=host))
    with pytest.raises(ConfigError, match="16 characters"):
        check_settings(Http(token=Secret("short")))
    with pytest.raises(ConfigError, match=r"\[http\] port"):
        api.query(Settings(), "http", node="porch", type="status")


@in_loop
async def test_too_many_at_once_are_told_busy() -> None:
    go_on = asyncio.Event()

    async def slow(request: Request) -> Answer:
        await go_on.wait()
        return refusal(request.id, "porch", "encrypted", "made up")

    async with (
        made_up_door(Http(), slow) as url,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):

        async def one() -> int:
            async with session.get(f"{url}/status") as response:
                read_answer(await response.read())
                return response.status

        asking = [asyncio.create_task(one()) for _ in range(40)]
        done: set[asyncio.Task[int]] = set()
        while len(done) < 24:
            done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)
        go_on.set()
        assert sorted(await asyncio.gather(*asking)) == [422] * 16 + [503] * 24


@in_loop
async def test_a_body_too_large_is_refused() -> None:
    async with made_up_door(Http()) as url, aiohttp.ClientSession() as session:
        for size in (MAX_REQUEST + 1, 10 * MAX_REQUEST):
            async with session.post(f"{url}/query", data=b" " * size, headers=JSON) as response:
                answer = read_answer(await response.read())
                assert isinstance(answer, ErrorAnswer)
                assert (response.status in (400, 413), answer.error.code) == (True, "bad_request")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
TIMES = st.sampled_from([str(START), str(END), "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "yesterday"])
WHOLE = st.fixed_dictionaries(
    {"id": st.uuids().map(str), "from": TIMES, "to": TIMES},
    optional={
        "type": st.sampled_from(["coverage", "sounds", "levels", "status", "song"]) | anything,
        "limit": st.integers() | anything,
        "cursor": st.text(max_size=40) | anything,
        "urls": anything,
        "step": st.integers() | anything,
        "order": anything,
        "min_level": anything,
    },
)
BODIES = st.binary(max_size=200) | (WHOLE | anything).map(lambda value: json.dumps(value).encode())
FUZZ = hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def clear(data: bytes, sent: bytes) -> None:
    """One answer of the protocol; an error says what is wrong, and none is the node's own fault."""
    answer = read_answer(data)
    if isinstance(answer, ErrorAnswer):
        assert answer.error.code in ("bad_request", "unknown_type"), (answer, sent)
        assert answer.error.message


@FUZZ
@given(body=BODIES)
def test_whatever_comes_over_http_gets_one_clear_answer(node: RunningNode, body: bytes) -> None:
    status, _, answer = get(f"{node.url}/query", body, **JSON)
    assert status in (200, 400)
    clear(answer, body)


@FUZZ
@given(names=st.dictionaries(st.sampled_from(["from", "to", "limit", "id", "urls", "x", "step"]), st.text(max_size=30)))
def test_whatever_stands_in_the_address_gets_one_clear_answer(node: RunningNode, names: dict[str, str]) -> None:
    encoded = {name: text.encode("utf-8", "replace") for name, text in names.items()}
    clear(get(f"{node.url}/coverage?{urlencode(encoded)}")[2], b"")


def test_whatever_comes_over_mqtt_gets_one_clear_answer(node: RunningNode) -> None:
    with connected(node.broker.port) as mqtt:
        mqtt.subscribe("imhearing/porch/response/query/fuzz/+")
        count = 0

        @FUZZ
        @given(body=BODIES)
        def fuzz(body: bytes) -> None:
            nonlocal count
            count += 1
            topic = f"imhearing/porch/response/query/fuzz/{count}"
            mqtt.publish(TOPIC, body, response_topic=topic)
            clear(mqtt.await_on(topic).payload, body)
            assert len(mqtt.on(topic)) == 1

        fuzz()


@in_loop
async def test_whatever_comes_over_ably_gets_one_clear_answer() -> None:
    """As above, with all bodies on their way at once; what cannot be told apart by its id is counted."""
    bodies: list[bytes] = []

    @hypothesis_settings(max_examples=40, deadline=None, database=None)
    @given(body=BODIES)
    def collect(body: bytes) -> None:
        bodies.append(body)

    collect()
    bodies = list(dict.fromkeys(body for body in bodies if len(body) < 8_000))
    async with realtime.running_server() as server, serving(server), raw_client(server, "visitor") as raw:
        for number, body in enumerate(bodies, 1):
            await raw.send(body)
            await raw.until(number)
        assert len(raw.answers) == len(bodies)
        for answer in raw.answers:
            assert isinstance(answer, ErrorAnswer)
            assert answer.error.code in ("bad_request", "unknown_type", "encrypted")


@pytest.mark.parametrize("via", VIAS)
def test_twenty_questions_at_once_each_get_their_own_answer(node: RunningNode, via: Via) -> None:
    async def run() -> None:
        async with api.connect(node.settings, via) as door:
            starts = [Instant(START + number * 1_000) for number in range(12)]
            asked = [query_node(door, Request(id=new_id(), from_=start, to=END)) for start in starts]
            answers = await asyncio.gather(*asked)
            assert [answer.from_ for answer in answers if isinstance(answer, CoverageAnswer)] == starts

    asyncio.run(run())
