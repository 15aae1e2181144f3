"""What shows recorder and archiver that a command comes from the page's owner, not from the service that passes it on.

Root's `imhearing page`, recorder and archiver have `[http] owner_key`; the query service does not. The owner's browser
gets a proof with the link that logs it in, or by the password, which opens the key that signs them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from edge.core.tickets import make_ticket, ticket_expiry

PROOF_SECONDS = 7 * 86_400.0  # as long as a session of the page
_LEEWAY = 3_600.0  # a link's proof is valid for ten minutes more; the clock may be corrected
_PURPOSE = "owner"


def signing_key(owner_key: str) -> str:
    """What signs proofs, as 64 hexadecimal digits; empty without a key."""
    return hashlib.sha256(owner_key.encode()).hexdigest() if owner_key else ""


def make_proof(signing: str, now: float, seconds: float = PROOF_SECONDS) -> str:
    """A proof that is valid until `seconds` after `now`; empty without a key. `signing`: of `signing_key`."""
    return make_ticket(signing, _PURPOSE, now + seconds) if signing else ""


def proof_check(owner_key: str, clock: Callable[[], float] = time.time) -> Callable[[str], bool]:
    """What says whether the owner made a proof that still counts; `clock`: seconds since 1970.

    One that would be valid for longer was made while the clock was ahead: it does not count.
    """
    signing = signing_key(owner_key)
    return lambda proof: 0 < ticket_expiry(signing, _PURPOSE, proof) - clock() <= PROOF_SECONDS + _LEEWAY
