"""One class, one name: a reader who meets a name need not ask which one it is."""

from __future__ import annotations

import ast

import pytest

from tests.unit.architecture.source_tree import Modules, parse, product

# Pony's tables and the sections of the settings are named after what they hold
MIRRORS = {"edge/catalog/tables.py", "edge/configuration/settings.py"}


def repeated_names(modules: Modules) -> list[str]:
    """Public classes of one name, unless all but one mirror the other."""
    places: dict[str, list[str]] = {}
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(module.path)
    return [
        f"class {name}: {', '.join(paths)}"
        for name, paths in sorted(places.items())
        if len(paths) > len(set(paths)) or len(set(paths) - MIRRORS) > 1
    ]


def test_no_two_classes_have_the_same_name() -> None:
    assert repeated_names(product()) == []


@pytest.mark.parametrize(
    "sources",
    [
        {"edge/a.py": "class Limits: ...", "edge/b.py": "class Limits: ..."},
        {"edge/a.py": "class Limits: ...", "edge/b.py": "def f():\n    class Limits: ..."},
        {"edge/a.py": "class Limits: ...\nclass Limits: ..."},
        {"edge/a.py": "class Hole: ...", "edge/b.py": "class Hole: ...", "edge/catalog/tables.py": "class Hole: ..."},
    ],
)
def test_a_repeated_class_name_is_found(sources: dict[str, str]) -> None:
    assert len(repeated_names(parse(sources))) == 1


def test_private_classes_and_mirrors_pass() -> None:
    sources = {
        "edge/a.py": "class Hole: ...\nclass _Tally: ...",
        "edge/b.py": "class _Tally: ...",
        "edge/catalog/tables.py": "class Hole: ...",
        "edge/configuration/settings.py": "class Hole: ...",
    }
    assert repeated_names(parse(sources)) == []
