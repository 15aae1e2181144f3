"""Tokens carry exactly what contracts.md grants, signed as the service wants it."""

from __future__ import annotations

import json

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.configuration.settings import Secret
from edge.core.errors import ConfigError, ImHearingError, UsageError
from edge.core.instant import Instant
from query_service.loopback.auth import resource_matches
from query_service.realtime.tokens import (
    capabilities_for_client,
    capabilities_for_node,
    client_token,
    new_api_key,
    node_token,
    parse_api_key,
)

KEY = Secret("app.key:0123456789abcdef0123456789abcdef")
NOW = Instant.parse("2026-11-22T05:44:08.250000Z")


def claims_of(token: str) -> dict[str, object]:
    options = {"verify_exp": False, "verify_iat": False}
    secret = KEY.reveal().partition(":")[2]
    return dict(jwt.decode(token, secret, algorithms=["HS256"], options=options))  # type: ignore[arg-type]


def test_client_token_is_an_ably_jwt() -> None:
    token = client_token(KEY, "ann", 3_600, NOW)
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "kid": "app.key"}
    claims = claims_of(token)
    assert claims["iat"] == 1_795_326_248
    assert claims["exp"] == 1_795_326_248 + 3_600
    assert claims["x-ably-clientId"] == "ann"
    assert json.loads(str(claims["x-ably-capability"])) == {
        "imhearing:requests:*": ["publish"],
        "imhearing:replies:ann": ["subscribe"],
        "imhearing:nodes": ["subscribe"],
        "imhearing:events:*": ["subscribe"],
    }


def test_node_token_contains_only_the_nodes_own_rights() -> None:
    claims = claims_of(node_token(KEY, "porch", 60, NOW))
    assert claims["x-ably-clientId"] == "porch"
    assert json.loads(str(claims["x-ably-capability"])) == {
        "imhearing:requests:porch": ["subscribe"],
        "imhearing:requests:all": ["subscribe"],
        "imhearing:replies:*": ["publish"],
        "imhearing:nodes": ["presence", "subscribe"],
        "imhearing:events:porch": ["publish"],
    }


@pytest.mark.parametrize("client_id", ["", "*", "a*", "a:b", "ann\n", "a b", "x" * 65, "ä"])
def test_client_ids_that_could_widen_a_token_are_rejected(client_id: str) -> None:
    with pytest.raises(UsageError, match="client id"):
        client_token(KEY, client_id, 60, NOW)


@pytest.mark.parametrize("node", ["", "all", "Porch", "*", "a:b", "porch\n"])
def test_node_names_that_could_widen_a_token_are_rejected(node: str) -> None:
    with pytest.raises(UsageError, match="node"):
        node_token(KEY, node, 60, NOW)


@pytest.mark.parametrize("key", ["", "app.key", "app.key:", ":secret", "app key:secret", "app.key:sec ret", "a:b\n"])
def test_a_malformed_key_is_reported_without_quoting_it(key: str) -> None:
    with pytest.raises(ConfigError, match="name:secret") as caught:
        client_token(Secret(key), "ann", 60, NOW)
    assert "sec ret" not in str(caught.value)
    assert "app key" not in str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1, 10**10])
def test_an_invalid_lifetime_is_rejected(seconds: int) -> None:
    with pytest.raises(UsageError, match="life"):
        client_token(KEY, "ann", seconds, NOW)


def test_new_keys_differ_and_parse() -> None:
    first, second = new_api_key(), new_api_key()
    assert first.reveal() != second.reveal()
    assert len(parse_api_key(first).secret.reveal()) >= 43
    assert repr(parse_api_key(first).secret) == "'***'"


@given(st.text(max_size=80))
def test_a_client_can_only_read_its_own_reply_channel(client_id: str) -> None:
    try:
        capability = capabilities_for_client(client_id)
    except ImHearingError:
        return
    readable = [resource for resource, operations in capability.items() if "subscribe" in operations]
    for other in ("bob" + client_id, client_id + "x", "*", "a:b"):
        assert not any(resource_matches(resource, f"imhearing:replies:{other}") for resource in readable)
    assert any(resource_matches(resource, f"imhearing:replies:{client_id}") for resource in readable)


def test_a_node_token_can_answer_every_client_but_query_no_node() -> None:
    capability = capabilities_for_node("porch")
    writable = [resource for resource, operations in capability.items() if "publish" in operations]
    for client_id in ("ann", "A_-9", "x" * 64):
        assert any(resource_matches(resource, f"imhearing:replies:{client_id}") for resource in writable)
    for channel in ("imhearing:requests:porch", "imhearing:replies", "imhearing:events:shed", "imhearing:nodes"):
        assert not any(resource_matches(resource, channel) for resource in writable)
