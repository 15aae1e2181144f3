"""The HTTP door: addresses, OpenAPI, metrics, tokens, and rejected requests."""

from __future__ import annotations

import asyncio
import json
import re

import aiohttp
import pytest
from msgspec.structs import replace

from edge.configuration.settings import Http, Secret, Settings
from edge.core.errors import ConfigError, DoorError
from edge.embedded import ports
from query_service import api
from query_service.doors.http import check_settings
from query_service.queries.protocol import QUERY_TYPES, Answer, Request, read_answer
from query_service.queries.values import MAX_REQUEST, ErrorAnswer, refusal
from tests.support.messaging.http_door import JSON, TOKEN, fake_http_door, http_request
from tests.support.messaging.realtime import in_loop
from tests.support.nodes.all_doors import END, NodeWithDoors
from tests.support.spool.chunks import START
from tests.support.wait import DEADLINE


def test_get_requests_answer_queries_with_clear_errors(node: NodeWithDoors) -> None:
    status, headers, body = http_request(
        f"{node.url}/coverage?from=2026-03-03T22:00:00Z&to=2026-03-03T23:00:05%2B01:00&limit=2"
    )
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert len(json.loads(body)["intervals"]) == 2
    unescaped, _, body = http_request(
        f"{node.url}/levels?from=2026-03-03T23:00:00+01:00&to=2026-03-03T22:00:05Z&step=1&urls=false"
    )
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
        status, _, body = http_request(node.url + address)
        answer = read_answer(body)
        assert isinstance(answer, ErrorAnswer)
        assert (status, answer.error.field) == (code, field), address


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/coverage?from=2026-03-03T22:00:00Z&to=2026-03-03T22:00:05Z&form=x", "form"),
        ("/coverage?from=2026-03-03T22:00:00Z&to=2026-03-03T22:00:05Z&step=5", "step"),
        ("/coverage?from=2026-03-03T22:00:00Z&to=2026-03-03T22:00:05Z&id=x", "id"),
        ("/levels?from=2026-03-03T22:00:00Z&to=2026-03-03T22:00:05Z&type=sounds", "type"),
        ("/status?x", "x"),
        ("/status?from=2026-03-03T22:00:00Z", "from"),
        ("/metrics?node=porch", "node"),
        ("/openapi.json?v=3", "v"),
        ("/status?%ff=%00", "\ufffd"),
        ("/coverage?from=2026-03-03T22:00:00Z&to=2026-03-03T22:00:05Z&limit=1&limit=2", "limit"),
        ("/coverage?from=2026-03-03T22:00:00Z&from=2026-03-03T22:00:00Z&to=2026-03-03T22:00:05Z", "from"),
    ],
)
def test_an_unknown_or_repeated_query_parameter_is_refused_by_name(
    node: NodeWithDoors, address: str, name: str
) -> None:
    status, _, body = http_request(node.url + address)
    answer = read_answer(body)
    assert isinstance(answer, ErrorAnswer)
    assert (status, answer.error.code, answer.error.field) == (400, "bad_request", name)
    assert name in answer.error.message


def test_a_posted_query_takes_no_query_parameters(node: NodeWithDoors) -> None:
    question = b'{"id": "a", "type": "status"}'
    assert http_request(f"{node.url}/query", question, **JSON)[0] == 200
    status, _, body = http_request(f"{node.url}/query?type=status", question, **JSON)
    assert (status, json.loads(body)["error"]["field"]) == (400, "type")


@pytest.mark.parametrize(
    ("field", "text"),
    [("limit", "1_0"), ("limit", "%D9%A3"), ("limit", "true"), ("limit", "2.5"), ("urls", "1"), ("urls", "no"),
     ("urls", "null"), ("limit", "null"), ("min_level", "null"), ("limit", "%5B1%5D"), ("limit", ""), ("urls", "")],
)  # fmt: skip
def test_numbers_and_booleans_in_an_address_are_written_as_in_json(node: NodeWithDoors, field: str, text: str) -> None:
    status, _, body = http_request(f"{node.url}/coverage?from={START}&to={END}&{field}={text}")
    assert (status, json.loads(body)["error"]["field"]) == (400, field)


def test_a_method_that_an_address_lacks_is_refused_with_those_it_has(node: NodeWithDoors) -> None:
    for path, allowed in (("/query", {"POST"}), ("/status", {"GET", "HEAD"}), ("/metrics", {"GET", "HEAD"})):
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "GET" if path == "/query" else "POST"):
            status, headers, body = http_request(node.url + path, method=method)
            assert status == 405, (method, path)
            assert set(headers["Allow"].split(",")) == allowed, (method, path)
            assert isinstance(read_answer(body), ErrorAnswer)


def test_metrics_are_served_over_http(node: NodeWithDoors) -> None:
    status, headers, body = http_request(f"{node.url}/metrics")
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
    assert b'imhearing_info{node="porch"' in body
    assert b"imhearing_spool_chunks 5" in body


def test_real_answers_match_the_openapi_document(node: NodeWithDoors) -> None:
    status, _, body = http_request(f"{node.url}/openapi.json")
    described = json.loads(body)
    assert (status, described["openapi"]) == (200, "3.1.0")
    by_address = (name for name, kind in QUERY_TYPES.items() if kind.by_address)
    of_page = (
        "audio", "live", "events", "nodes", "session", "pause", "resume", "rotate", "archive", "hold", "forget",
    )  # fmt: skip
    assert set(described["paths"]) == {f"/{name}" for name in ("query", "metrics", *by_address, *of_page)}
    schemas = described["components"]["schemas"]
    assert set(re.findall(r"#/components/schemas/(\w+)", body.decode())) <= schemas.keys()
    answer = json.loads(http_request(f"{node.url}/coverage?from={START}&to={END}")[2])
    schema = described["paths"]["/coverage"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    whole = schemas[schema["$ref"].rpartition("/")[2]]
    always = whole["properties"].keys() - {"incomplete"}  # which is there only while something cannot be read
    assert set(whole["required"]) <= answer.keys() == always
    pending = schemas["Pending"]
    assert set(pending["required"]) <= answer["intervals"][0].keys() <= pending["properties"].keys()
    names = {item["name"] for item in described["paths"]["/coverage"]["get"]["parameters"]}
    assert names == {"from", "to", "limit", "cursor", "urls"}


def test_requests_with_a_foreign_host_header_are_rejected(node: NodeWithDoors) -> None:
    assert http_request(f"{node.url}/status", Host="evil.example.org")[0] == 403
    for host in ("localhost:80", "[::1]:80", "127.0.0.1"):
        status, headers, _ = http_request(f"{node.url}/status", Host=host)
        assert status == 200
        assert not [name for name in headers if name.lower().startswith("access-control")]


@in_loop
async def test_http_requests_without_the_token_are_rejected() -> None:
    async with fake_http_door(Http(token=TOKEN)) as url, aiohttp.ClientSession() as session:
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
async def test_an_unreachable_http_door_is_reported_with_the_remedy() -> None:
    port = ports.choose(None)
    async with api.connect(Settings(http=Http(port=port)), "http", node="porch") as way:
        with pytest.raises(DoorError) as caught:
            await way.query(Request(id="x", type="status"), 2)
    assert str(caught.value) == (
        f"http://127.0.0.1:{port}/query: no answer within 2 s (connection refused);"
        " the node must be running: start `imhearing up` with the same --data"
    )


def test_an_http_door_beyond_loopback_needs_a_token() -> None:
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
async def test_too_many_http_requests_at_once_are_refused_as_busy() -> None:
    go_on = asyncio.Event()

    async def slow(request: Request, client: str) -> Answer:
        await go_on.wait()
        return refusal(request.id, "porch", "encrypted", "made up")

    async with (
        fake_http_door(Http(), slow) as url,
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


@pytest.mark.parametrize("sent", [
    b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip.",
    b"Content-Encoding: deflate\r\nContent-Length: 9\r\n\r\nnot zlib.",
])  # fmt: skip
@in_loop
async def test_an_http_body_that_cannot_be_decompressed_is_refused(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake_http_door(Http()) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     b"Connection: close\r\n" + sent)  # fmt: skip
        async with asyncio.timeout(DEADLINE):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert head.startswith(b"HTTP/1.1 400 "), head
    answer = read_answer(body)
    assert isinstance(answer, ErrorAnswer)
    assert answer.error.code == "bad_request"
    assert [record for record in caplog.records if record.exc_info] == []


@in_loop
async def test_an_http_body_that_is_too_large_is_refused() -> None:
    async with fake_http_door(Http()) as url, aiohttp.ClientSession() as session:
        for size in (MAX_REQUEST + 1, 10 * MAX_REQUEST):
            async with session.post(f"{url}/query", data=b" " * size, headers=JSON) as response:
                answer = read_answer(await response.read())
                assert isinstance(answer, ErrorAnswer)
                assert (response.status in (400, 413), answer.error.code) == (True, "bad_request")
