"""Which package may import which: the rows of `table.MAY_IMPORT`, and what is never reached, not even indirectly."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.unit.architecture.source_tree import Module, Modules, imports, package_of, packages, parse, product, within
from tests.unit.architecture.table import MAY_IMPORT, NEVER_REACHES

Table = Mapping[str, tuple[str, ...]]


def layering(modules: Modules, table: Table = MAY_IMPORT) -> list[str]:
    """Imports that no row allows, and packages without a row."""
    without = sorted(packages(modules).keys() - table)
    breaches = [f"{package} has no row in tests/unit/architecture/table.py" for package in without]
    for module in modules.values():
        row = table.get(package_of(module), ())
        for name in sorted(set(imports(module, modules)) & modules.keys()):
            if not _is_always_allowed(module, name) and not any(_covers(entry, modules[name]) for entry in row):
                breaches.append(f"{module.path} imports {name}: the row of {package_of(module)} does not allow it")
    return breaches


def _is_always_allowed(module: Module, name: str) -> bool:
    return name == "edge" or within(name, package_of(module))


def _covers(entry: str, module: Module) -> bool:
    if entry.endswith(".*"):
        return within(module.name, entry[:-2])
    return entry in (module.name, package_of(module))


def stale_rows(modules: Modules, table: Table = MAY_IMPORT) -> list[str]:
    """Rows of packages that do not exist, and entries that nobody needs."""
    used = {
        (package_of(module), entry)
        for module in modules.values()
        for entry in table.get(package_of(module), ())
        for name in set(imports(module, modules)) & modules.keys()
        if not _is_always_allowed(module, name) and _covers(entry, modules[name])
    }
    stale = [f"no package {package}" for package in sorted(table.keys() - packages(modules))]
    return stale + [
        f"{package} does not import {entry}"
        for package, row in table.items()
        for entry in row
        if package in packages(modules) and (package, entry) not in used
    ]


def reached(modules: Modules, never: tuple[tuple[str, str], ...] = NEVER_REACHES) -> list[str]:
    """Each forbidden module that can be reached from a package, with the chain of imports that leads there."""
    return [
        " -> ".join(chain) + f": {start} must not reach {forbidden}"
        for start, forbidden in never
        for chain in _chains(modules, start)
        if within(chain[-1], forbidden) and not within(chain[-2], forbidden)
    ]


def _chains(modules: Modules, start: str) -> list[list[str]]:
    """The shortest chain of imports to each module outside `start` that its modules reach while they run."""
    chains = {name: [name] for name in modules if within(name, start)}
    waiting = list(chains)
    for name in waiting:  # grows while it is walked
        for imported in sorted(set(imports(modules[name], modules, types_too=False))):
            for loaded in _with_parents(imported):
                if loaded in modules and loaded not in chains:
                    chains[loaded] = [*chains[name], loaded]
                    waiting.append(loaded)
    return [chain for name, chain in chains.items() if not within(name, start)]


def _with_parents(name: str) -> list[str]:
    """Importing a.b.c runs a and a.b too."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def test_every_package_imports_only_what_its_row_allows() -> None:
    assert layering(product()) == []


def test_the_table_allows_nothing_that_is_not_needed() -> None:
    assert stale_rows(product()) == []


def test_the_table_of_allowed_imports_has_no_cycle() -> None:
    try:
        TopologicalSorter(MAY_IMPORT).prepare()
    except CycleError as cycle:
        pytest.fail(" -> ".join(cycle.args[1]))


def test_forbidden_packages_are_not_reached_through_others_either() -> None:
    assert reached(product()) == []


TABLE: Table = {"edge": (), "edge.a": ("edge.b", "edge.c.one", "query_service.*"), "edge.b": (), "edge.c": ()}
PACKAGES = dict.fromkeys(("edge/__init__.py", "edge/a/__init__.py", "edge/b/__init__.py", "edge/c/__init__.py"), "")
MODULES = PACKAGES | dict.fromkeys(("edge/b/x.py", "edge/c/one.py", "edge/c/two.py"), "")


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"edge/b/y.py": "from edge.a import z", "edge/a/z.py": ""}, "edge/b/y.py imports edge.a.z"),
        ({"edge/b/y.py": "def f():\n    import edge.a.z", "edge/a/z.py": ""}, "edge/b/y.py imports edge.a.z"),
        ({"edge/b/y.py": "from ..a import z", "edge/a/z.py": ""}, "edge/b/y.py imports edge.a.z"),
        ({"edge/b/y.py": "if TYPE_CHECKING:\n    import edge.c.one"}, "edge/b/y.py imports edge.c.one"),
        ({"edge/a/y.py": "from edge.c import two"}, "edge/a/y.py imports edge.c.two"),
        ({"edge/a/y.py": "import edge.c"}, "edge/a/y.py imports edge.c"),
        ({"edge/b/y.py": "import edge.b.deep.x", "edge/b/deep/__init__.py": "", "edge/b/deep/x.py": ""}, "no row"),
    ],
)
def test_a_forbidden_import_is_found(sources: dict[str, str], expected: str) -> None:
    (breach,) = layering(parse(MODULES | sources), TABLE)
    assert expected in breach


def test_allowed_imports_pass() -> None:
    text = "import edge, edge.b.x, json\nfrom edge.c import one\nfrom query_service.deep import y\nfrom edge.a import q"
    others = {"query_service/deep/__init__.py": "", "query_service/deep/y.py": "", "edge/a/q.py": ""}
    table = {**TABLE, "query_service.deep": ()}
    modules = parse({**MODULES, **others, "edge/a/y.py": text})
    assert layering(modules, table) == []
    assert stale_rows(modules, table) == []


def test_stale_rows_and_unused_permissions_are_found() -> None:
    modules = parse(MODULES | {"edge/a/y.py": "import edge.b.x"})
    table = {**TABLE, "edge.a": ("edge.b", "edge.c.one"), "edge.old": ()}
    assert stale_rows(modules, table) == ["no package edge.old", "edge.a does not import edge.c.one"]


@pytest.mark.parametrize(
    ("sources", "chain"),
    [
        ({"a/x.py": "import b.y", "b/y.py": ""}, "a.x -> b.y"),
        ({"a/x.py": "import c", "c.py": "def f():\n    from b import y", "b/y.py": ""}, "a.x -> c -> b.y"),
        ({"a/x.py": "import c.d", "c/__init__.py": "import b", "c/d.py": "", "b/__init__.py": ""}, "a.x -> c -> b"),
    ],
)
def test_a_forbidden_module_reached_through_others_is_found(sources: dict[str, str], chain: str) -> None:
    assert reached(parse(sources), (("a", "b"),)) == [f"{chain}: a must not reach b"]


def test_a_module_known_only_to_the_type_checker_is_not_reached() -> None:
    assert reached(parse({"a/x.py": "if TYPE_CHECKING:\n    import b.y", "b/y.py": ""}), (("a", "b"),)) == []
