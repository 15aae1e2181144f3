"""Authentication and authorisation: keys, JWTs, token requests, capabilities. Pure; the time is an argument."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jwt
import msgspec
from jwt.types import Options
from msgspec import Struct

from edge.configuration.settings import Secret
from edge.core import wire
from edge.core.errors import WireError
from query_service.loopback.protocol import NO_FLAGS, Flag, Refusal
from query_service.realtime.tokens import Capability, parse_api_key

EVERYTHING: Capability = {"*": ["*"]}
ANYONE = "*"  # a client id in a token that lets its bearer choose one
DEFAULT_TTL_MS = 3_600_000
MAX_TTL_MS = 86_400_000
CLOCK_SLACK_MS = 300_000
_NONCES = 1_000
# We check the expiry ourselves, against our own clock; a clock set back must not lock everyone out (iat).
_SIGNATURE_ONLY: Options = {
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_aud": False,
    "require": ["exp", "iat"],
}
# Those that Ably knows (https://ably.com/docs/auth/capabilities); this server does not offer what some of them permit.
_OPERATIONS = {
    *("publish", "subscribe", "presence", "history", "stats", "channel-metadata", "privileged-headers"),
    *("push-subscribe", "push-admin", "object-subscribe", "object-publish"),
    *("annotation-subscribe", "annotation-publish"),
    *("message-update-any", "message-update-own", "message-delete-any", "message-delete-own"),
}
_MODES_OF = {
    "publish": Flag.PUBLISH,
    "subscribe": Flag.SUBSCRIBE | Flag.PRESENCE_SUBSCRIBE,
    "presence": Flag.PRESENCE,
}


class Grant(Struct, frozen=True):
    """What credentials permit. `client_id` is None for anonymous clients, `expires_ms` for keys, which never expire."""

    client_id: str | None
    capability: Capability
    expires_ms: int | None = None

    @property
    def names_client(self) -> bool:
        """Whether the client is identified; without a client id, many clients share one key or token."""
        return self.client_id not in (None, ANYONE)

    def permits(self, operation: str, channel: str) -> bool:
        """Whether `operation` (publish, subscribe, presence, history) is granted on `channel`."""
        return any(
            (operation in operations or "*" in operations) and resource_matches(resource, channel)
            for resource, operations in self.capability.items()
        )

    def modes(self, channel: str) -> Flag:
        """The channel modes that the capability allows."""
        granted = NO_FLAGS
        for operation, modes in _MODES_OF.items():
            if self.permits(operation, channel):
                granted |= modes
        return granted

    def require(self, operation: str, channel: str) -> None:
        """Refusal (40160) unless `operation` is granted on `channel`."""
        if not self.permits(operation, channel):
            raise not_permitted(operation, channel)


def not_permitted(operation: str, channel: str) -> Refusal:
    return Refusal(f"{operation} on {channel} is not permitted with the provided capability", 40160, 401)


def resource_matches(resource: str, channel: str) -> bool:
    """Whether a capability's resource names `channel` (https://ably.com/docs/auth/capabilities).

    `*` matches a whole segment between colons, or one or more at the end; elsewhere it is an ordinary character.
    """
    patterns, segments = resource.split(":"), channel.split(":")
    if patterns[-1] == "*":
        patterns.pop()
        if len(segments) <= len(patterns):
            return False
    elif len(segments) != len(patterns):
        return False
    return all(pattern in ("*", segment) for pattern, segment in zip(patterns, segments, strict=False))


class TokenRequest(Struct, rename="camel", kw_only=True):
    """A request for a token, signed with the key (`mac`) as by the SDKs."""

    key_name: str
    timestamp: int = 0  # ms since 1970
    nonce: str = ""
    mac: str = ""
    ttl: int | None = None  # ms
    capability: str | None = None
    client_id: str | None = None


class Authority:
    """Checks credentials against this server's only API key."""

    def __init__(self, api_key: Secret) -> None:
        self._key = parse_api_key(api_key)
        self._nonces: OrderedDict[tuple[int, str], None] = OrderedDict()  # each with the timestamp of its request

    def from_query(self, query: Mapping[str, str], now_ms: int) -> Grant:
        """The grant of a WebSocket's query: its credentials, and perhaps `clientId`."""
        return identified(self.from_parameters(query, now_ms), query.get("clientId"))

    def from_parameters(self, query: Mapping[str, str], now_ms: int) -> Grant:
        """The grant of credentials in a query: `key`, `accessToken` or `access_token`."""
        if token := query.get("accessToken") or query.get("access_token"):
            return self.from_token(token, now_ms)
        if key := query.get("key"):
            return self.from_key(key)
        raise Refusal("no credentials: pass key, accessToken or access_token", 40101, 401)

    def from_header(self, header: str, now_ms: int) -> Grant:
        """The grant of an Authorization header: Basic with the key, Bearer with a token, plain or in base64."""
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "basic":
            return self.from_key(_from_base64(value) or "")
        if scheme.lower() == "bearer":
            return self.from_token(value if "." in value else _from_base64(value) or "", now_ms)
        raise Refusal("no credentials: pass an Authorization header, Basic or Bearer", 40101, 401)

    def from_key(self, key: str) -> Grant:
        """Full access with the right key; otherwise Refusal (40101)."""
        expected = f"{self._key.name}:{self._key.secret.reveal()}"
        if not hmac.compare_digest(key.encode(errors="replace"), expected.encode()):
            raise Refusal("invalid credentials: this server has another API key", 40101, 401)
        return Grant(ANYONE, EVERYTHING)

    def from_token(self, token: str, now_ms: int) -> Grant:
        """The claims of an Ably JWT; Refusal 40142 if expired, 40144 if malformed, 40101 if it is not one of ours.

        What is no JWT at all is 40101 as well: at 40144 the SDKs would request another token, again and again.
        """
        if token.count(".") != 2:
            raise Refusal("invalid credentials: the token is not a JWT", 40101, 401)
        claims = self._verified(token)
        expires, client_id = claims["exp"], claims.get("x-ably-clientId")
        if not isinstance(expires, int | float) or not math.isfinite(expires) or not isinstance(client_id, str | None):
            raise Refusal("invalid JWT: exp must be a number, x-ably-clientId text", 40144, 401)
        expires_ms = round(expires * 1000)
        if expires_ms <= now_ms:
            raise Refusal("the token has expired", 40142, 401)
        try:
            capability = parse_capability(claims.get("x-ably-capability"))
        except WireError as problem:
            raise Refusal(f"invalid JWT: x-ably-capability {problem}", 40144, 401) from None
        return Grant(client_id or None, capability, expires_ms)

    def _verified(self, token: str) -> dict[str, Any]:
        try:
            name = jwt.get_unverified_header(token).get("kid")
            claims: dict[str, Any] = jwt.decode(
                token, self._key.secret.reveal(), algorithms=["HS256"], options=_SIGNATURE_ONLY
            )
        except jwt.InvalidSignatureError:
            raise Refusal("invalid credentials: the token is signed with another key", 40101, 401) from None
        except (jwt.InvalidTokenError, ValueError, RecursionError) as problem:
            raise Refusal(f"invalid JWT: {str(problem)[:100]}", 40144, 401) from None
        if name != self._key.name:
            raise Refusal("invalid credentials: the token names another key", 40101, 401)
        return claims

    def issue(self, request: TokenRequest, now_ms: int, *, trusted: bool = False) -> dict[str, Any]:
        """TokenDetails for a signed request, or an unsigned one if `trusted`: sent with the key itself."""
        if request.key_name != self._key.name:
            raise Refusal("invalid credentials: this server has another API key", 40101, 401)
        if not trusted or request.mac:
            self._check_signature(request, now_ms)
        ttl = DEFAULT_TTL_MS if request.ttl is None else request.ttl
        if not 1 <= ttl <= MAX_TTL_MS:
            raise Refusal(f"ttl must be 1 to {MAX_TTL_MS} ms", 40003)
        capability = wire.encode(_requested_capability(request)).decode()
        expires = now_ms + ttl
        # Times to the millisecond, and a `jti`: two tokens are never equal.
        claims = {"iat": now_ms / 1000, "exp": expires / 1000, "jti": secrets.token_urlsafe(8)}
        claims["x-ably-capability"] = capability
        if request.client_id:
            claims["x-ably-clientId"] = request.client_id
        token = jwt.encode(claims, self._key.secret.reveal(), algorithm="HS256", headers={"kid": self._key.name})
        details = {"token": token, "keyName": self._key.name, "issued": now_ms, "expires": expires}
        named = {"clientId": request.client_id} if request.client_id else {}
        return {**details, **named, "capability": capability}

    def _check_signature(self, request: TokenRequest, now_ms: int) -> None:
        parts = (request.key_name, request.ttl, request.capability, request.client_id, request.timestamp, request.nonce)
        text = "".join(f"{part or ''}\n" for part in parts)
        expected = hmac.new(self._key.secret.reveal().encode(), text.encode(errors="replace"), hashlib.sha256).digest()
        if not hmac.compare_digest(request.mac.encode(errors="replace"), base64.b64encode(expected)):
            raise Refusal("invalid credentials: the token request's mac does not match", 40101, 401)
        if abs(request.timestamp - now_ms) > CLOCK_SLACK_MS:
            raise Refusal("the token request's timestamp is not current", 40104, 401)
        once = (request.timestamp, request.nonce)
        if once in self._nonces:
            raise Refusal("the token request's nonce was used before", 40105, 401)
        self._nonces[once] = None
        if len(self._nonces) > _NONCES:
            self._nonces.popitem(last=False)


def parse_capability(text: object) -> Capability:
    """Parses a capability from JSON; WireError, which says how it must be, if invalid."""
    try:
        if not isinstance(text, str):
            raise WireError("it is missing")
        return wire.decode(text, Capability)
    except WireError as problem:
        raise WireError(f'must be JSON like {{"*":["*"]}}: {problem}') from None


def _requested_capability(request: TokenRequest) -> Capability:
    """Refusal (40000) if malformed, or if Ably would not accept its operations."""
    if request.capability is None:
        return EVERYTHING
    try:
        capability = parse_capability(request.capability)
    except WireError as problem:
        raise Refusal(f"invalid capability: it {problem}", 40000) from None
    for resource, operations in capability.items():
        if operations != ["*"] and not (operations and _OPERATIONS.issuperset(operations)):
            raise Refusal(f'invalid capability: the operations of {resource} must be ["*"], or known ones', 40000)
    return capability


def identified(grant: Grant, client_id: str | None) -> Grant:
    """The grant with the client id that its bearer chose; Refusal (40102, 40012) if the credentials do not allow it."""
    if grant.client_id != ANYONE:
        if client_id and client_id != grant.client_id:
            raise Refusal("clientId does not match the token's", 40102, 401)
        return grant
    if client_id and "*" in client_id:
        raise Refusal("invalid client id: `*` is reserved", 40012)
    return msgspec.structs.replace(grant, client_id=client_id or ANYONE)


def _from_base64(text: str) -> str | None:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
