"""Who may ask: Ably JWTs for clients and nodes, each with the least capabilities that its role needs."""

from __future__ import annotations

import base64
import re
import secrets

import jwt
from msgspec import Struct, field

from edge.configuration.settings import Secret
from edge.core import wire
from edge.core.errors import ConfigError, DoorError, UsageError, WireError
from edge.core.ids import EVERY_NODE, is_client_id, is_node_name
from edge.core.instant import MICROSECONDS, Instant

REQUESTS = "imhearing:requests:"
REPLIES = "imhearing:replies:"
EVENTS = "imhearing:events:"
NODES = "imhearing:nodes"
LONGEST_SECONDS = 366 * 86_400

# Resource -> operations. A `*` stands for whole segments between colons, and at the end for one or more of them
# (https://ably.com/docs/auth/capabilities): `imhearing:replies:*` is every client's reply channel and nothing else,
# because neither client ids nor node names hold a colon or a star.
Capability = dict[str, list[str]]

_API_KEY = re.compile(r"([A-Za-z0-9._-]+):([\x21-\x7e]+)")


class ApiKey(Struct, frozen=True):
    """The two halves of an Ably API key: the name is public, the secret signs."""

    name: str
    secret: Secret


class TokenClaims(Struct, frozen=True):
    """What of a token's claims is of use to who holds it; `exp` in seconds since 1970."""

    client_id: str = field(name="x-ably-clientId")
    exp: int


def claims_of(token: str) -> TokenClaims:
    """Whom a token is for and how long it works; whether it is genuine, the server knows. DoorError: it is no token."""
    try:
        payload = token.split(".")[1]
        return wire.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), TokenClaims)
    except (IndexError, ValueError, WireError):
        raise DoorError("the token is none that `imhearing token` made") from None


def parse_api_key(api_key: Secret) -> ApiKey:
    """The halves of `name:secret`; ConfigError if it is not of that form. The message never shows the key."""
    match = _API_KEY.fullmatch(api_key.reveal())
    if not match:
        found = "it is empty" if not api_key.reveal() else "this one is not"
        raise ConfigError([f"[ably] api_key: must have the form name:secret, as in app.key:secret; {found}"])
    return ApiKey(match[1], Secret(match[2]))


def new_api_key() -> Secret:
    """A key for a local realtime server, 256 random bits; the real service does not know it."""
    return Secret(f"local.{secrets.token_hex(3)}:{secrets.token_urlsafe(32)}")


def capabilities_for_client(client_id: str) -> Capability:
    """What a client may do: ask any node, read its own answers, see nodes and their events. UsageError: bad id."""
    if not is_client_id(client_id):
        raise UsageError(f"client id {client_id[:70]!r}: allowed are A-Z, a-z, 0-9, _ and -, 1 to 64 of them")
    return {
        f"{REQUESTS}*": ["publish"],
        f"{REPLIES}{client_id}": ["subscribe"],
        NODES: ["subscribe"],
        f"{EVENTS}*": ["subscribe"],
    }


def capabilities_for_node(node: str) -> Capability:
    """What a node may do: hear questions to it and to all, answer anyone, be present, see who is, tell its events."""
    if not is_node_name(node):
        raise UsageError(f"node {node[:70]!r}: allowed are a-z, 0-9, _ and -, at most 63, not `{EVERY_NODE}`")
    return {
        f"{REQUESTS}{node}": ["subscribe"],
        f"{REQUESTS}{EVERY_NODE}": ["subscribe"],
        f"{REPLIES}*": ["publish"],
        NODES: ["presence", "subscribe"],
        f"{EVENTS}{node}": ["publish"],
    }


def client_token(api_key: Secret, client_id: str, ttl_seconds: int, now: Instant) -> str:
    """A JWT that lets `client_id` ask for `ttl_seconds` from `now` on. ConfigError: the key; UsageError: the rest."""
    return _sign(api_key, client_id, capabilities_for_client(client_id), ttl_seconds, now)


def node_token(api_key: Secret, node: str, ttl_seconds: int, now: Instant) -> str:
    """A JWT for a node's query service; its client id is the node's name. Errors as for `client_token`."""
    return _sign(api_key, node, capabilities_for_node(node), ttl_seconds, now)


def _sign(api_key: Secret, client_id: str, capability: Capability, ttl_seconds: int, now: Instant) -> str:
    """Claims as in https://ably.com/docs/auth/token/jwt: the capability is JSON inside the JSON."""
    if not 1 <= ttl_seconds <= LONGEST_SECONDS:
        raise UsageError(f"a token's life must be 1 to {LONGEST_SECONDS} seconds, not {ttl_seconds}")
    key = parse_api_key(api_key)
    issued = now // MICROSECONDS
    claims = {
        "iat": issued,
        "exp": issued + ttl_seconds,
        "x-ably-clientId": client_id,
        "x-ably-capability": wire.encode(capability).decode(),
    }
    return jwt.encode(claims, key.secret.reveal(), algorithm="HS256", headers={"kid": key.name})
