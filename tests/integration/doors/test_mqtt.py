"""The MQTT door of one running node."""

from __future__ import annotations

import json
import secrets

import pytest
from msgspec.structs import replace

from edge.configuration.settings import Mqtt
from edge.core.errors import ConfigError, DoorError
from edge.embedded import ports
from query_service import api
from query_service.queries.protocol import Request, read_request
from tests.support.messaging.http_door import JSON, http_request
from tests.support.messaging.json_schema import faults
from tests.support.messaging.mqtt import connected
from tests.support.nodes.all_doors import END, QUERY_TOPIC, NodeWithDoors
from tests.support.spool.chunks import START


def test_an_mqtt_answer_goes_to_the_response_topic(node: NodeWithDoors) -> None:
    with connected(node.broker.port) as mqtt:
        mqtt.subscribe("imhearing/porch/response/#")
        question = {"id": secrets.token_hex(8), "from": str(START), "to": str(END)}
        mqtt.publish(QUERY_TOPIC, json.dumps(question), correlation=b"mine")
        heard = mqtt.wait_for_message("imhearing/porch/response/query")
        plain = json.loads(heard.payload)
        assert (plain["id"], plain["ok"], len(plain["data"]["intervals"])) == (question["id"], True, 5)
        assert (heard.correlation, heard.retained) == (b"mine", False)

        own = "imhearing/porch/response/query/me"
        mqtt.publish(QUERY_TOPIC, json.dumps(question), response_topic=own, correlation=b"\x00\xff")
        assert mqtt.wait_for_message(own).payload == heard.payload
        assert mqtt.wait_for_message(own).correlation == b"\x00\xff"

        mqtt.publish(QUERY_TOPIC, json.dumps({**question, "limit": 1}), response_topic=own)
        refused = mqtt.wait_for_message(own, lambda each: b"another request" in each.payload)
        assert json.loads(refused.payload)["error"]["code"] == "bad_request"

        mqtt.publish(
            QUERY_TOPIC, json.dumps({**question, "id": "elsewhere"}), response_topic="imhearing/attic/response/query"
        )
        refused = mqtt.wait_for_message("imhearing/porch/response/query", lambda each: b"elsewhere" in each.payload)
        assert json.loads(refused.payload)["error"]["field"] == "response_topic"

        mqtt.publish(QUERY_TOPIC, json.dumps({**question, "id": "retained"}), retain=True)
        mqtt.publish(QUERY_TOPIC, b"", retain=True)
        mqtt.publish(QUERY_TOPIC, json.dumps({**question, "id": "the last"}))
        mqtt.wait_for_message("imhearing/porch/response/query", lambda each: b"the last" in each.payload)
        assert not [each for each in mqtt.received if b'"retained"' in each.payload]


def test_a_query_is_answered_over_mqtt_in_the_same_envelope_as_a_command(node: NodeWithDoors) -> None:
    answered = {"id": "asked-twice", "type": "coverage", "from": str(START), "to": str(END), "urls": False}
    refused = {**answered, "id": "refused-twice", "from": str(END)}
    with connected(node.broker.port) as mqtt:
        mqtt.subscribe("imhearing/porch/response/#")
        for question in (answered, refused):
            topic = f"imhearing/porch/response/{question['id']}"
            mqtt.publish(QUERY_TOPIC, json.dumps(question), response_topic=topic)
            envelope = json.loads(mqtt.wait_for_message(topic).payload)
            assert not faults(envelope, "Response")
            assert list(envelope) == ["id", "ok", "data", "error"]
            over_http = json.loads(http_request(f"{node.url}/query", json.dumps(question).encode(), **JSON)[2])
            if question is answered:
                assert (envelope["ok"], envelope["error"], envelope["data"]) == (True, None, over_http)
            else:
                assert (envelope["ok"], envelope["error"], envelope["data"]) == (False, over_http["error"], None)


def test_presigned_links_are_sent_over_mqtt_only_on_request() -> None:
    text = json.dumps({"id": "x", "from": str(START), "to": str(END)})
    for urls in (True, False):
        request = read_request(text, "porch", urls=urls)
        assert isinstance(request, Request)
        assert request.urls is urls
    request = read_request(text.replace('"x"', '"x", "urls": true'), "porch", urls=False)
    assert isinstance(request, Request)
    assert request.urls


def test_an_unreachable_broker_and_a_missing_node_are_reported(node: NodeWithDoors) -> None:
    unreachable = replace(node.settings, mqtt=Mqtt(host="127.0.0.1", port=ports.choose(None)))
    with pytest.raises(DoorError, match="cannot connect to the MQTT broker"):
        api.query(unreachable, "mqtt", type="status", timeout=1)
    with pytest.raises(DoorError, match="node attic gave no answer"):
        api.query(node.settings, "mqtt", type="status", node="attic", timeout=3)
    with pytest.raises(ConfigError, match=r"\[mqtt\] host"):
        api.query(replace(node.settings, mqtt=Mqtt()), "mqtt", type="status")
