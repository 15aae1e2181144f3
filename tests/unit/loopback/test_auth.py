"""Credentials: what they prove, what they permit, and which are rejected."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from ably.types.tokenrequest import TokenRequest as SdkTokenRequest
from hypothesis import given
from hypothesis import strategies as st

from edge.configuration.settings import Secret
from edge.core.instant import Instant
from query_service.loopback.auth import EVERYTHING, Authority, Grant, TokenRequest, resource_matches
from query_service.loopback.protocol import Flag, Refusal
from query_service.realtime.tokens import client_token

KEY = Secret("app.key:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
SECRET = KEY.reveal().partition(":")[2]
NOW = Instant.parse("2026-11-22T05:44:08Z")
NOW_MS = NOW // 1000
CLAIMS = {"iat": NOW_MS // 1000, "exp": NOW_MS // 1000 + 60, "x-ably-capability": '{"*":["*"]}'}

segments = st.sampled_from(["a", "b", "ab", "*", ""])
channels = st.lists(segments, min_size=1, max_size=4).map(":".join)


def token_with(claims: dict[str, Any], secret: str = SECRET, kid: str = "app.key") -> str:
    return jwt.encode({**CLAIMS, **claims}, secret, algorithm="HS256", headers={"kid": kid})


def code_of(refused: pytest.ExceptionInfo[Refusal]) -> int:
    return refused.value.info.code


@pytest.mark.parametrize(
    ("resource", "channel", "fits"),
    [
        ("*", "a", True),
        ("*", "a:b:c", True),
        ("a:*", "a:b", True),
        ("a:*", "a:b:c", True),
        ("a:*", "a", False),
        ("a:*", "b:a", False),
        ("a:*:c", "a:b:c", True),
        ("a:*:c", "a:b:x:c", False),
        ("a:*:c", "a:b:d", False),
        ("a*", "ab", False),  # a star that is not a whole segment is a letter
        ("a*", "a*", True),
        ("a:b", "a:b:c", False),
        ("a", "A", False),
        ("imhearing:replies:*", "imhearing:replies:ann", True),
        ("imhearing:replies:ann", "imhearing:replies:anna", False),
    ],
)
def test_resources_match_as_the_service_documents(resource: str, channel: str, fits: bool) -> None:
    assert resource_matches(resource, channel) is fits


@given(channels, channels)
def test_a_final_star_matches_longer_channels_too(resource: str, channel: str) -> None:
    if resource_matches(resource, channel):
        assert resource_matches(resource, f"{channel}:more") is resource.endswith("*") or ":" not in resource
    if "*" not in resource.split(":"):
        assert resource_matches(resource, channel) == (resource == channel)


def test_channel_modes_follow_the_capability() -> None:
    grant = Grant("ann", {"a:*": ["subscribe"], "a:b": ["publish"], "c": ["presence"], "d": ["history"]})
    assert grant.modes("a:x") == Flag.SUBSCRIBE | Flag.PRESENCE_SUBSCRIBE
    assert grant.modes("a:b") == Flag.SUBSCRIBE | Flag.PRESENCE_SUBSCRIBE | Flag.PUBLISH
    assert grant.modes("c") == Flag.PRESENCE
    assert grant.modes("d") == 0
    assert grant.modes("e") == 0


def test_the_authority_accepts_its_own_tokens() -> None:
    grant = Authority(KEY).from_token(client_token(KEY, "ann", 60, NOW), NOW_MS)
    assert grant.client_id == "ann"
    assert grant.expires_ms == NOW_MS + 60_000
    assert grant.permits("publish", "imhearing:requests:porch")
    assert not grant.permits("subscribe", "imhearing:requests:porch")
    assert not grant.permits("subscribe", "imhearing:replies:bob")


def test_a_token_expires_to_the_second() -> None:
    authority, token = Authority(KEY), client_token(KEY, "ann", 60, NOW)
    authority.from_token(token, NOW_MS + 59_999)
    with pytest.raises(Refusal) as refused:
        authority.from_token(token, NOW_MS + 60_000)
    assert code_of(refused) == 40142


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (token_with({}, secret="another-secret-another-secret-123"), 40101),
        (token_with({}, kid="app.other"), 40101),
        ("", 40101),
        ("rubbish", 40101),  # no JWT at all: a client with a callback must not ask it again and again, as after 40144
        ("rub.bish", 40101),
        ("a.b.c", 40144),
        (jwt.encode(CLAIMS, SECRET, algorithm="HS512", headers={"kid": "app.key"}), 40144),
        (jwt.encode(CLAIMS, "", algorithm="none", headers={"kid": "app.key"}), 40144),
        (token_with({"x-ably-capability": "{"}), 40144),
        (token_with({"x-ably-capability": None}), 40144),
        (token_with({"x-ably-capability": '{"*":"*"}'}), 40144),
        (token_with({"x-ably-clientId": 5}), 40144),
        (token_with({"exp": "soon"}), 40144),
        (token_with({"exp": NOW_MS // 1000}), 40142),
    ],
)
def test_false_tokens_are_rejected(token: str, code: int) -> None:
    with pytest.raises(Refusal) as refused:
        Authority(KEY).from_query({"accessToken": token}, NOW_MS)
    assert code_of(refused) == code


def test_a_key_permits_everything_and_any_client_id() -> None:
    authority = Authority(KEY)
    assert authority.from_query({"key": KEY.reveal()}, NOW_MS) == Grant("*", EVERYTHING)
    assert authority.from_query({"key": KEY.reveal(), "clientId": "ann"}, NOW_MS).client_id == "ann"
    for query in ({"key": "app.key:wrong"}, {"key": "ä"}, {}, {"clientId": "ann"}):
        with pytest.raises(Refusal) as refused:
            authority.from_query(query, NOW_MS)
        assert code_of(refused) == 40101


def test_a_token_binds_its_client_id() -> None:
    with pytest.raises(Refusal) as refused:
        Authority(KEY).from_query({"accessToken": client_token(KEY, "ann", 60, NOW), "clientId": "bob"}, NOW_MS)
    assert code_of(refused) == 40102


def test_authorization_headers_accept_plain_and_base64_tokens() -> None:
    authority, token = Authority(KEY), client_token(KEY, "ann", 60, NOW)
    packed = base64.b64encode(token.encode()).decode()
    assert authority.from_header(f"Bearer {token}", NOW_MS) == authority.from_header(f"Bearer {packed}", NOW_MS)
    assert authority.from_header(f"Basic {base64.b64encode(KEY.reveal().encode()).decode()}", NOW_MS).client_id == "*"
    for header in ("", "Basic x", "Bearer x", "Digest y", "Bearer"):
        with pytest.raises(Refusal):
            authority.from_header(header, NOW_MS)


def signed(nonce: str, timestamp: int = NOW_MS, **fields: Any) -> TokenRequest:
    """A request as the official SDK signs it."""
    request = SdkTokenRequest(key_name="app.key", nonce=nonce, timestamp=timestamp, **fields)
    request.sign_request(SECRET)
    return TokenRequest(key_name="app.key", nonce=nonce, timestamp=timestamp, mac=request.mac, **fields)


def test_a_signed_token_request_is_exchanged_for_a_token() -> None:
    authority = Authority(KEY)
    capability = json.dumps({"a": ["publish"]})
    details = authority.issue(signed("n1", ttl=120_000, capability=capability, client_id="ann"), NOW_MS)
    assert details["expires"] - details["issued"] == 120_000
    grant = authority.from_token(details["token"], NOW_MS)
    assert grant == Grant("ann", {"a": ["publish"]}, NOW_MS + 120_000)


def test_a_token_lives_to_the_millisecond() -> None:
    authority, now = Authority(KEY), NOW_MS + 123
    details = authority.issue(signed("n1", ttl=100), now)
    assert (details["issued"], details["expires"]) == (now, now + 100)
    assert authority.from_token(details["token"], now + 99).expires_ms == now + 100
    with pytest.raises(Refusal) as refused:
        authority.from_token(details["token"], now + 100)
    assert code_of(refused) == 40142


def test_two_tokens_for_the_same_request_differ() -> None:
    authority = Authority(KEY)
    tokens = {authority.issue(signed(nonce), NOW_MS)["token"] for nonce in ("n1", "n2")}
    assert len(tokens) == 2


def test_a_nonce_may_recur_with_another_timestamp() -> None:
    authority = Authority(KEY)
    authority.issue(signed("n1"), NOW_MS)
    authority.issue(signed("n1", timestamp=NOW_MS + 1), NOW_MS + 1)


INVALID_CAPABILITIES = [
    "nonsense",
    "[]",
    '{"a":[]}',
    '{"a":["publsh"]}',
    '{"a":["*","publish"]}',
]


def test_invalid_token_requests_are_rejected() -> None:
    authority = Authority(KEY)
    authority.issue(signed("n1"), NOW_MS)
    forged = signed("n2")
    forged.capability = '{"*":["*"]}'
    cases = [
        (signed("n1"), 40105),
        (forged, 40101),
        (TokenRequest(key_name="app.key", nonce="n3", timestamp=NOW_MS), 40101),
        (TokenRequest(key_name="app.other"), 40101),
        (signed("n4", timestamp=NOW_MS - 3_600_000), 40104),
        (signed("n5", ttl=0), 40003),
        (signed("n6", ttl=86_400_001), 40003),
        *((signed(f"n7{capability}", capability=capability), 40000) for capability in INVALID_CAPABILITIES),
    ]
    for request, code in cases:
        with pytest.raises(Refusal) as refused:
            authority.issue(request, NOW_MS)
        assert code_of(refused) == code
