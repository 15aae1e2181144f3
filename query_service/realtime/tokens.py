"""Ably JWTs for clients and nodes, each with the least capabilities that its role needs."""

from __future__ import annotations

import base64
import secrets

import jwt
from msgspec import Struct, field

from edge.configuration.malformed import API_KEY
from edge.configuration.settings import Secret
from edge.core import wire
from edge.core.errors import ConfigError, DoorError, UsageError, WireError
from edge.core.ids import EVERY_NODE, is_client_id, is_node_name
from edge.core.instant import MICROSECONDS, Instant

REQUESTS = "imhearing:requests:"
REPLIES = "imhearing:replies:"
EVENTS = "imhearing:events:"
NODES = "imhearing:nodes"
MAX_TTL_SECONDS = 366 * 86_400

# Resource -> operations. A `*` stands for whole segments between colons, and at the end for one or more of them
# (https://ably.com/docs/auth/capabilities): `imhearing:replies:*` is every client's reply channel and nothing else,
# because neither client ids nor node names hold a colon or a star.
Capability = dict[str, list[str]]


class ApiKey(Struct, frozen=True):
    """The two halves of an Ably API key: the name is public, the secret signs."""

    name: str
    secret: Secret


class TokenClaims(Struct, frozen=True):
    """The claims of a token that its holder needs; `exp` is Unix time in seconds."""

    client_id: str = field(name="x-ably-clientId")
    exp: int


def claims_of(token: str) -> TokenClaims:
    """The client and expiry of a token, whose signature only the server can verify. DoorError if malformed."""
    try:
        payload = token.split(".")[1]
        return wire.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), TokenClaims)
    except (IndexError, ValueError, WireError):
        raise DoorError("the token was not issued by `imhearing token`") from None


def parse_api_key(api_key: Secret) -> ApiKey:
    """Splits `name:secret`; ConfigError, which never quotes the key, if it has another form."""
    match = API_KEY.fullmatch(api_key.reveal())
    if not match:
        found = "it is malformed" if api_key.reveal() else "it is empty"
        raise ConfigError([f"[ably] api_key: {found}; expected name:secret, such as app.key:secret"])
    return ApiKey(match[1], Secret(match[2]))


def new_api_key() -> Secret:
    """A key for a local realtime server, with 256 random bits."""
    return Secret(f"local.{secrets.token_hex(3)}:{secrets.token_urlsafe(32)}")


def capabilities_for_client(client_id: str) -> Capability:
    """A client may query any node, read its own answers, and see nodes and their events. UsageError for a bad id."""
    if not is_client_id(client_id):
        raise UsageError(f"client id {client_id[:70]!r}: use 1 to 64 of A-Z, a-z, 0-9, _ and -")
    return {
        f"{REQUESTS}*": ["publish"],
        f"{REPLIES}{client_id}": ["subscribe"],
        NODES: ["subscribe"],
        f"{EVENTS}*": ["subscribe"],
    }


def capabilities_for_node(node: str) -> Capability:
    """A node may read requests to it and to all, answer anyone, announce itself, see others, and publish its events."""
    if not is_node_name(node):
        raise UsageError(f"node {node[:70]!r}: use up to 63 of a-z, 0-9, _ and - (but not `{EVERY_NODE}`)")
    return {
        f"{REQUESTS}{node}": ["subscribe"],
        f"{REQUESTS}{EVERY_NODE}": ["subscribe"],
        f"{REPLIES}*": ["publish"],
        NODES: ["presence", "subscribe"],
        f"{EVENTS}{node}": ["publish"],
    }


def client_token(api_key: Secret, client_id: str, ttl_seconds: int, now: Instant) -> str:
    """A JWT that lets `client_id` query for `ttl_seconds` from `now` on. ConfigError for the key, else UsageError."""
    return _sign(api_key, client_id, capabilities_for_client(client_id), ttl_seconds, now)


def node_token(api_key: Secret, node: str, ttl_seconds: int, now: Instant) -> str:
    """A JWT for a node's query service; its client id is the node's name. Errors as for `client_token`."""
    return _sign(api_key, node, capabilities_for_node(node), ttl_seconds, now)


def _sign(api_key: Secret, client_id: str, capability: Capability, ttl_seconds: int, now: Instant) -> str:
    """Claims as in https://ably.com/docs/auth/token/jwt: the capability is JSON inside the JSON."""
    if not 1 <= ttl_seconds <= MAX_TTL_SECONDS:
        raise UsageError(f"a token's lifetime must be 1 to {MAX_TTL_SECONDS} seconds, not {ttl_seconds}")
    key = parse_api_key(api_key)
    issued = now // MICROSECONDS
    claims = {
        "iat": issued,
        "exp": issued + ttl_seconds,
        "x-ably-clientId": client_id,
        "x-ably-capability": wire.encode(capability).decode(),
    }
    return jwt.encode(claims, key.secret.reveal(), algorithm="HS256", headers={"kid": key.name})
