"""What schemathesis is taught beyond the OpenAPI document: rules that docs/query.md states and JSON Schema cannot.

`from` is before `to`, both in the years 1 to 9999 of UTC; a cursor comes from an earlier answer; a clip needs sound.
Loaded by schemathesis itself (`SCHEMATHESIS_HOOKS`).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import schemathesis
from schemathesis import Case

from edge.core.instant import FIRST, LAST, Instant
from tests.support.spool.chunks import at

_RANGES_OF_CLIPS = 3  # the node makes 200 clips a day


@schemathesis.check
def unknown_parameters_are_refused(
    _context: schemathesis.CheckContext, response: schemathesis.Response, case: Case[Any]
) -> None:
    """Schemathesis's own check lets an API ignore them."""
    sent = parse_qs(urlsplit(response.request.url or "").query, keep_blank_values=True)
    if set(sent) - {parameter.name for parameter in case.operation.query}:
        assert response.status_code in (400, 405), "an unknown query parameter was ignored"


@schemathesis.hook
def map_case(_context: schemathesis.HookContext, case: Case[Any]) -> Case[Any]:
    if case.method == "POST":
        if isinstance(case.body, dict):
            case.body = _sensible(case.body)
    elif case.query:
        case.query = _sensible(case.query)
    return case


def _sensible(fields: dict[str, Any]) -> dict[str, Any]:
    """The same request, and what is valid in it by the document alone is valid."""
    fields = dict(fields)
    if isinstance(fields.get("cursor"), str) and len(fields["cursor"]) <= 512:
        del fields["cursor"]
    start, end = _instant(fields.get("from")), _instant(fields.get("to"))
    if start is None or end is None:
        return fields
    if fields.get("type") == "clip":
        first = start % _RANGES_OF_CLIPS
        fields["from"], fields["to"] = str(at(first)), str(at(first + 2))
    elif start == end or min(start, end) < FIRST or max(start, end) > LAST:
        fields["from"], fields["to"] = str(FIRST), str(LAST)
    elif start > end:
        fields["from"], fields["to"] = fields["to"], fields["from"]
    return fields


def _instant(value: object) -> Instant | None:
    try:
        return Instant.parse(value) if isinstance(value, str) else None
    except ValueError:
        return None
