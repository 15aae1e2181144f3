"""Writes the table of rights in docs/security.md from what was observed: `python -m tests.install.rights_table`."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT, OBSERVED = ROOT / "docs" / "security.md", Path(__file__).with_name("rights.json")
BEGIN, END = "<!-- rights: made by tests/install/rights_table.py -->", "<!-- end of rights -->"
ROLES = {"recorder": "recorder", "archiver": "archiver", "query": "query service"}

Observed = dict[str, dict[str, dict[str, list[str]]]]  # in its service, or as its user alone: role, subject, rights


def observed() -> Observed:
    found: Observed = json.loads(OBSERVED.read_text(encoding="utf-8"))
    return found


def table(rights: dict[str, dict[str, list[str]]]) -> str:
    """In Markdown."""
    lines = ["| | " + " | ".join(ROLES.values()) + " |", "|---|" + "---|" * len(ROLES)]
    for subject in rights["recorder"]:
        cells = [_cell(rights[role][subject]) for role in ROLES]
        lines.append(f"| {subject} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(rights: list[str]) -> str:
    return ", ".join(f"`{right}`" if right.startswith("imhearing_") else right for right in rights) or "-"


def with_table(document: str, made: str) -> str:
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT}: has no place for the table: {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def main() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(with_table(document, table(observed()["rights"])), encoding="utf-8")


if __name__ == "__main__":
    main()
