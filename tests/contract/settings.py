"""Every setting: section, key, type, default, bounds, choices; and the environment variables that are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

from msgspec import Meta
from msgspec.structs import fields

from tests.contract import product
from tests.contract.output import Output

_ROOT = Path(__file__).parents[2]
_VARIABLE = re.compile(r'environ\.(?:get|setdefault)\(\s*"([A-Z_]+)"|"([A-Z_]+)" (?:not )?in (?:os\.)?environ')


def write(output: Output) -> None:
    sections = get_type_hints(product.Settings)
    listed = {
        section.name: {item.name: _describe(sections[section.name], item) for item in fields(sections[section.name])}
        for section in fields(product.Settings)
    }
    output.json("settings.json", listed)
    secrets = [
        f"IMHEARING_{section}_{key}".upper()
        for section, keys in listed.items()
        for key, described in keys.items()
        if described["type"] == "secret"
    ]
    output.lines("environment.txt", [*sorted(_read_by_name()), *secrets])


def _read_by_name() -> set[str]:
    """Variables that the sources name where they read the environment."""
    found: set[str] = set()
    for path in _ROOT.glob("[!.]*/**/*.py"):
        if path.relative_to(_ROOT).parts[0] not in ("tests", "bench"):
            found.update(name for pair in _VARIABLE.findall(path.read_text(encoding="utf-8")) for name in pair if name)
    return found


def _describe(struct: type[Any], item: Any) -> dict[str, Any]:
    base, *notes = get_args(get_type_hints(struct, include_extras=True)[item.name])
    described: dict[str, Any] = {"type": _type_name(base), "default": _plain(item.default)}
    if choices := get_args(base):
        described["choices"] = list(choices)
    for meta in notes:
        if isinstance(meta, Meta):
            limits = {"at_least": meta.ge, "at_most": meta.le, "pattern": meta.pattern}
            described |= {name: limit for name, limit in limits.items() if limit is not None}
    return described


def _type_name(base: Any) -> str:
    if choices := get_args(base):
        return type(choices[0]).__name__
    return {product.Secret: "secret", Path: "path"}.get(base) or str(base.__name__)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, (Path, str)) else value
