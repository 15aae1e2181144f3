"""No module imports itself through others, wherever the imports stand."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import pytest

from tests.unit.architecture.source_tree import Modules, imports, parse, product


def circles(modules: Modules) -> list[str]:
    """The first circle; imports that only the type checker sees do not count."""
    graph = {
        module.name: sorted(set(imports(module, modules, types_too=False)) & modules.keys())
        for module in modules.values()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        return ["a circle of imports: " + " <- ".join(circle.args[1])]
    return []


def test_no_module_imports_itself_through_others() -> None:
    assert circles(product()) == []


@pytest.mark.parametrize(
    "sources",
    [
        {"edge/a.py": "import edge.b", "edge/b.py": "from edge import a"},
        {"edge/a.py": "import edge.b", "edge/b.py": "def f():\n    import edge.a"},
        {"edge/__init__.py": "from .a import x", "edge/a.py": "from . import y"},
    ],
)
def test_an_import_cycle_is_found(sources: dict[str, str]) -> None:
    (breach,) = circles(parse(sources))
    assert breach.startswith("a circle of imports: ")


def test_an_import_for_the_type_checker_closes_no_cycle() -> None:
    assert circles(parse({"edge/a.py": "if TYPE_CHECKING:\n    import edge.b", "edge/b.py": "import edge.a"})) == []
