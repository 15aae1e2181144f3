"""Any request through any door gets one clear answer."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from query_service.queries.protocol import Answer, read_answer
from query_service.queries.values import ErrorAnswer
from tests.support.messaging import realtime
from tests.support.messaging.ably_door import fake_ably_door, raw_client
from tests.support.messaging.http_door import JSON, http_request
from tests.support.messaging.mqtt import connected, opened
from tests.support.messaging.realtime import in_loop
from tests.support.nodes.all_doors import END, QUERY_TOPIC, NodeWithDoors
from tests.support.spool.chunks import START

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


def clear(answer: Answer, sent: bytes) -> None:
    """An error says what is wrong, and none is the node's own fault."""
    if isinstance(answer, ErrorAnswer):
        assert answer.error.code in ("bad_request", "unknown_type"), (answer, sent)
        assert answer.error.message


@FUZZ
@given(body=BODIES)
def test_any_http_body_gets_one_clear_answer(node: NodeWithDoors, body: bytes) -> None:
    status, _, answer = http_request(f"{node.url}/query", body, **JSON)
    assert status in (200, 400)
    clear(read_answer(answer), body)


@FUZZ
@given(names=st.dictionaries(st.sampled_from(["from", "to", "limit", "id", "urls", "x", "step"]), st.text(max_size=30)))
def test_any_http_query_string_gets_one_clear_answer(node: NodeWithDoors, names: dict[str, str]) -> None:
    encoded = {name: text.encode("utf-8", "replace") for name, text in names.items()}
    clear(read_answer(http_request(f"{node.url}/coverage?{urlencode(encoded)}")[2]), b"")


def test_any_mqtt_payload_gets_one_clear_answer(node: NodeWithDoors) -> None:
    with connected(node.broker.port) as mqtt:
        mqtt.subscribe("imhearing/porch/response/query/fuzz/+")
        count = 0

        @FUZZ
        @given(body=BODIES)
        def fuzz(body: bytes) -> None:
            nonlocal count
            count += 1
            topic = f"imhearing/porch/response/query/fuzz/{count}"
            mqtt.publish(QUERY_TOPIC, body, response_topic=topic)
            clear(opened(mqtt.wait_for_message(topic).payload), body)
            assert len(mqtt.messages_on(topic)) == 1

        fuzz()


@in_loop
async def test_any_ably_message_gets_one_clear_answer() -> None:
    """As above, with all bodies on their way at once; what cannot be told apart by its id is counted."""
    bodies: list[bytes] = []

    @hypothesis_settings(max_examples=40, deadline=None, database=None)
    @given(body=BODIES)
    def collect(body: bytes) -> None:
        bodies.append(body)

    collect()
    bodies = list(dict.fromkeys(body for body in bodies if len(body) < 8_000))
    async with realtime.running_server() as server, fake_ably_door(server), raw_client(server, "visitor") as raw:
        for number, body in enumerate(bodies, 1):
            await raw.send(body)
            await raw.until(number)
        assert len(raw.answers) == len(bodies)
        for answer in raw.answers:
            assert isinstance(answer, ErrorAnswer)
            assert answer.error.code in ("bad_request", "unknown_type", "encrypted")
