"""One-time codes that log the owner in: made by whoever has the node's key, checked by the query service. Pure."""

from __future__ import annotations

import hashlib
import hmac
import secrets

CODE_SECONDS = 600.0
_BYTES = 12  # of the random part and of the signature each


def make_code(key: str, now: float) -> str:
    """A code that counts until CODE_SECONDS after `now`, seconds since 1970; `key`: the node's own."""
    body = f"{round(now + CODE_SECONDS):x}.{secrets.token_hex(_BYTES)}"
    return f"{body}.{_signature(key, body)}"


def code_expiry(key: str, code: str) -> float:
    """When a genuine code expires, in seconds since 1970; 0 for any other text, and without a key."""
    body, _, signature = code.rpartition(".")
    if not key or not hmac.compare_digest(signature.encode(), _signature(key, body).encode()):
        return 0.0
    return float(int(body.partition(".")[0], 16))


def _signature(key: str, body: str) -> str:
    return hmac.new(key.encode(), f"page code {body}".encode(), hashlib.sha256).hexdigest()[: 2 * _BYTES]
