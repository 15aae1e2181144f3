"""Signed texts that expire: only whoever has the key can make one that is genuine."""

from __future__ import annotations

import hashlib
import hmac
import secrets

_BYTES = 12  # of the random part and of the signature each


def make_ticket(key: str, purpose: str, expires: float) -> str:
    """A ticket for one purpose, valid until `expires`, in seconds since 1970."""
    body = f"{round(expires):x}.{secrets.token_hex(_BYTES)}"
    return f"{body}.{_signature(key, purpose, body)}"


def ticket_expiry(key: str, purpose: str, ticket: str) -> float:
    """When a genuine ticket for that purpose expires, in seconds since 1970; 0 for other texts, and without a key."""
    body, _, signature = ticket.rpartition(".")
    given = signature.encode("utf-8", "surrogatepass")
    if not key or not hmac.compare_digest(given, _signature(key, purpose, body).encode()):
        return 0.0
    return float(int(body.partition(".")[0], 16))


def _signature(key: str, purpose: str, body: str) -> str:
    text = f"{purpose} {body}".encode("utf-8", "surrogatepass")
    return hmac.new(key.encode(), text, hashlib.sha256).hexdigest()[: 2 * _BYTES]
