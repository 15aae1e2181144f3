"""The product's source as `ast` reads it. Nothing is run; an import counts wherever it stands, in functions too."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
Import = ast.Import | ast.ImportFrom
PRODUCT = ("edge", "query_service", "commands")


class Module(NamedTuple):
    """One source file: its dotted name, its path from the root, its content."""

    name: str
    path: str
    text: str
    tree: ast.Module
    statements: Sequence[tuple[Import, bool]]  # each import, and whether only the type checker sees it
    is_package: bool = False


Modules = Mapping[str, Module]  # by dotted name
Rule = Callable[[Modules], list[str]]  # gives one line per breach


@cache
def product() -> Modules:
    """All that is installed on a node."""
    files = [file for top in PRODUCT for file in sorted((ROOT / top).rglob("*.py"))]
    files.append(ROOT / "imhearing.py")
    modules = parse({file.relative_to(ROOT).as_posix(): file.read_text() for file in files})
    assert {"edge.core.errors", "edge.recorder", "query_service.service", "commands", "imhearing"} <= modules.keys()
    return modules


@cache
def all_tests() -> Modules:
    """Everything below `tests/`."""
    files = [file for file in sorted((ROOT / "tests").rglob("*.py")) if "node_modules" not in file.parts]
    modules = parse({file.relative_to(ROOT).as_posix(): file.read_text() for file in files})
    assert {"tests.conftest", "tests.support.wait", __name__} <= modules.keys()
    return modules


def parse(sources: Mapping[str, str]) -> Modules:
    """Path from the root -> text, to dotted name -> module."""
    modules = {}
    for path, text in sources.items():
        parts = path.removesuffix(".py").split("/")
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        tree = ast.parse(text, path)
        modules[name] = Module(name, path, text, tree, _import_statements(tree), is_package)
    return modules


def imports(module: Module, modules: Modules, types_too: bool = True) -> Iterator[str]:
    """The dotted name of each module imported; without those under `if TYPE_CHECKING:` unless `types_too`."""
    for node, only_types in module.statements:
        if only_types and not types_too:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            base = _absolute(node, module)
            for alias in node.names:
                whole = f"{base}.{alias.name}"  # `from a import b`: b is a module of ours, or a name in a
                yield whole if whole in modules else base


def _import_statements(tree: ast.Module) -> list[tuple[Import, bool]]:
    only_types = set(_type_checking(tree))
    return [(node, node in only_types) for node in ast.walk(tree) if isinstance(node, Import)]


def _absolute(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    parents = module.name.split(".")
    up = node.level - 1 if module.is_package else node.level
    return ".".join([*parents[: len(parents) - up], *([node.module] if node.module else [])])


def _type_checking(tree: ast.Module) -> Iterator[ast.AST]:
    """Everything under `if TYPE_CHECKING:`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for statement in node.body:
                yield from ast.walk(statement)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def package_of(module: Module) -> str:
    """The package whose folder holds the file; a module at the root is its own."""
    return module.name if module.is_package else module.name.rpartition(".")[0] or module.name


def packages(modules: Modules) -> dict[str, list[Module]]:
    """Each package, with its files and those of no package below it."""
    found: dict[str, list[Module]] = {}
    for module in modules.values():
        found.setdefault(package_of(module), []).append(module)
    return found
