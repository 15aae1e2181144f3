"""One-time codes that log the owner in: made by whoever has the node's key, checked by the query service. Pure."""

from __future__ import annotations

from edge.core.tickets import make_ticket, ticket_expiry

CODE_SECONDS = 600.0
_PURPOSE = "page code"


def make_code(key: str, now: float, proof: str = "") -> str:
    """A code that is valid until CODE_SECONDS after `now`, seconds since 1970; `key`: the node's own.

    It hands over the owner's `proof`, which only recorder and archiver can check.
    """
    return with_proof(make_ticket(key, _PURPOSE, now + CODE_SECONDS), proof)


def code_expiry(key: str, code: str) -> float:
    """When a genuine code expires, in seconds since 1970; 0 for any other text, and without a key."""
    return ticket_expiry(key, _PURPOSE, without_proof(code))


def with_proof(text: str, proof: str) -> str:
    """A code, or a session's cookie, together with the owner's proof; may be empty."""
    return f"{text}~{proof}" if proof else text


def without_proof(text: str) -> str:
    return text.partition("~")[0]


def proof_in(text: str) -> str:
    """The proof that `with_proof` added; empty without one."""
    return text.partition("~")[2]
