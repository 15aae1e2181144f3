"""The address of the page, and a link that logs its owner in."""

from __future__ import annotations

import time

from edge.configuration.settings import Http
from edge.messaging.owner_proof import PROOF_SECONDS, make_proof, signing_key
from query_service.page.codes import CODE_SECONDS, make_code


def scheme_of(http: Http) -> str:
    """Of the HTTP door's addresses."""
    return "https" if http.certificate else "http"


def page_address(http: Http) -> str:
    """Where this machine reaches the page."""
    if http.url:
        return f"{http.url.rstrip('/')}/"
    host = "127.0.0.1" if http.host in ("0.0.0.0", "::", "") else http.host  # noqa: S104
    return f"{scheme_of(http)}://{f'[{host}]' if ':' in host else host}:{http.port}/"


def owner_link(http: Http, key: str) -> str:
    """With a one-time code in its fragment, which browsers do not send; `key`: the node's own."""
    now = time.time()
    # as long as the session that begins with the code, at the latest when that expires
    proof = make_proof(signing_key(http.owner_key.reveal()), now, PROOF_SECONDS + CODE_SECONDS)
    return f"{page_address(http)}#code={make_code(key, now, proof)}"
