"""The result of one check."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

State = Literal["ok", "warning", "fault"]


class Finding(Struct, frozen=True):
    """One check's result. `remedy` is a shell command, or advice if no command will do; empty if all is well."""

    check: str  # part.check, as in `store.write`
    state: State
    message: str
    remedy: str = ""


def ok(check: str, message: str) -> Finding:
    return Finding(check, "ok", message)


def warning(check: str, message: str, remedy: str) -> Finding:
    return Finding(check, "warning", message, remedy)


def fault(check: str, message: str, remedy: str) -> Finding:
    return Finding(check, "fault", message, remedy)
