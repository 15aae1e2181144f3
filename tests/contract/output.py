"""Where the contract goes: a folder of text files, the same bytes each time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Output:
    """The folder `root`. Nothing in it is overwritten: a name that is used twice is a mistake."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def text(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text if text.endswith("\n") else text + "\n")

    def json(self, name: str, value: Any) -> None:
        """Fields keep their order: it is what a reader of the raw bytes sees."""
        self.text(name, json.dumps(value, indent=1, ensure_ascii=False))

    def lines(self, name: str, lines: list[str]) -> None:
        self.text(name, "\n".join(lines))
