"""What schemathesis is taught beyond the OpenAPI document: rules that docs/query.md states and JSON Schema cannot.

`from` is before `to`, both in the years 1 to 9999 of UTC; a cursor comes from an earlier answer; a clip needs sound;
a zone is one that the machine knows; `days`, and the loudest `levels`, are of at most 400 days.
Loaded by schemathesis itself (`SCHEMATHESIS_HOOKS`).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import schemathesis
from schemathesis import Case

from edge.core.instant import FIRST, LAST, Instant
from tests.support.spool.chunks import at

_ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Auckland")
_LONGEST_ZONE = 64
_DAYS = 400 * 86_400 * 1_000_000
_RANGES_OF_CLIPS = 3  # the node makes 200 clips a day
_HEARD = 20  # seconds: longer ranges take long


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
            case.body = _sensible(case.body, case.body.get("type"))
    elif case.query:
        case.query = _sensible(case.query, case.path.removeprefix("/"))
    return case


def _sensible(fields: dict[str, Any], kind: object) -> dict[str, Any]:
    """The same request, and what is valid in it by the document alone is valid."""
    fields = dict(fields)
    if isinstance(fields.get("zone"), str) and 0 < len(fields["zone"]) <= _LONGEST_ZONE:
        fields["zone"] = _ZONES[len(fields["zone"]) % len(_ZONES)]
    if isinstance(fields.get("cursor"), str) and len(fields["cursor"]) <= 512:
        del fields["cursor"]
    start, end = _instant(fields.get("from")), _instant(fields.get("to"))
    if start is None or end is None:
        return fields
    is_limited = kind == "days" or (kind == "levels" and fields.get("order") == "loudest")
    if is_limited and abs(end - start) > _DAYS:
        fields["from"], fields["to"] = str(at(0)), str(Instant(at(0) + _DAYS))
    elif kind == "audio":
        fields["from"], fields["to"] = str(at(start % _HEARD)), str(at(start % _HEARD + 1 + end % _HEARD))
    elif kind == "clip":
        first = start % _RANGES_OF_CLIPS
        fields["from"], fields["to"] = str(at(first)), str(at(first + 2))
    elif is_limited and (start == end or min(start, end) < at(0)):
        fields["from"], fields["to"] = str(at(0)), str(at(86_400))
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
