"""No module imports itself through others, wherever the imports stand."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import pytest

from tests.unit.architecture.source_tree import Modules, imports, parse, product


def cycles(modules: Modules) -> list[str]:
    """The first cycle; imports that only the type checker sees do not count."""
    graph = {
        module.name: sorted(set(imports(module, modules, types_too=False)) & modules.keys())
        for module in modules.values()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as cycle:
        return ["an import cycle: " + " <- ".join(cycle.args[1])]
    return []


def test_no_module_imports_itself_through_others() -> None:
    assert cycles(product()) == []


@pytest.mark.parametrize(
    "sources",
    [
        {"edge/a.py": "import edge.b", "edge/b.py": "from edge import a"},
        {"edge/a.py": "import edge.b", "edge/b.py": "def f():\n    import edge.a"},
        {"edge/__init__.py": "from .a import x", "edge/a.py": "from . import y"},
    ],
)
def test_an_import_cycle_is_found(sources: dict[str, str]) -> None:
    (breach,) = cycles(parse(sources))
    assert breach.startswith("an import cycle: ")


def test_an_import_for_the_type_checker_closes_no_cycle() -> None:
    assert cycles(parse({"edge/a.py": "if TYPE_CHECKING:\n    import edge.b", "edge/b.py": "import edge.a"})) == []
