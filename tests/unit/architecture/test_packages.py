"""The size of packages and files, and the docstring that opens each package."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

import pytest

from tests.unit.architecture.source_tree import Modules, all_tests, packages, parse, product
from tests.unit.architecture.table import MAY_IMPORT

FEWEST_MODULES, MOST_MODULES = 3, 20
MOST_LINES = 400
_REASON = re.compile(r"^# Longer than 400 lines because \w", re.MULTILINE)
_REASON_FOR_FEW = re.compile(r'^"""Fewer than three files because \w')


def sizes(modules: Modules, may_be_small: bool = False) -> list[str]:
    """Packages that are too small or too full, and files too long without a line `# Longer than 400 lines because`.

    A folder of tests may be small if its docstring begins with `Fewer than three files because`.
    """
    breaches = []
    for package, files in packages(modules).items():
        inner = [module for module in modules.values() if module.is_package and _parent(module.name) == package]
        parts = len(files) + len(inner)
        has_reason = may_be_small and _REASON_FOR_FEW.search(modules[package].text)
        if modules[package].is_package and parts < FEWEST_MODULES and not has_reason:
            breaches.append(f"{package} has {parts} modules: fewer than {FEWEST_MODULES}")
        if len(files) > MOST_MODULES:
            breaches.append(f"{package} has {len(files)} modules: more than {MOST_MODULES}")
    for module in modules.values():
        lines = module.text.count("\n")
        if lines > MOST_LINES and not _REASON.search(module.text):
            breaches.append(f"{module.path} has {lines} lines: more than {MOST_LINES}, and no reason is given")
    return breaches


def _parent(package: str) -> str:
    return package.rpartition(".")[0]


def docstrings(modules: Modules, table: Mapping[str, tuple[str, ...]] = MAY_IMPORT) -> list[str]:
    """Packages whose docstring has not two to five lines, names other imports than the table, or no place to start."""
    breaches = []
    for package in packages(modules):
        if not modules[package].is_package:
            continue
        text = ast.get_docstring(modules[package].tree) or ""
        lines = [line for line in text.splitlines() if line.strip()]
        if not 2 <= len(lines) <= 5:
            breaches.append(f"{package}: a docstring of {len(lines)} lines, not two to five")
        allowed = [entry.removesuffix(".*") for entry in table.get(package, ())]
        stated = _names_after("May import", text)
        if len(stated) != len(allowed) or not all(map(_names, sorted(stated, key=_last), sorted(allowed, key=_last))):
            breaches.append(f"{package}: the docstring allows {stated}, the table {allowed}")
        starts = _names_after("Start with", text)
        if not starts or f"{package}.{starts[0]}" not in modules:
            breaches.append(f"{package}: the docstring does not say which module to start with")
    return breaches


def _names_after(words: str, text: str) -> list[str]:
    """The names in backticks in the sentence that begins with these words."""
    sentence = re.search(rf"\b{words}\b(.*?)[.:](\s|$)", text, re.DOTALL)
    return [] if sentence is None else re.findall(r"`([^`]+)`", sentence[1])


def _names(short: str, name: str) -> bool:
    """A docstring may leave out the packages around a name."""
    return f".{name}".endswith(f".{short}")


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def test_packages_and_files_have_a_readable_size() -> None:
    assert sizes(product()) == []


def test_folders_and_files_of_tests_have_a_readable_size() -> None:
    assert sizes(all_tests(), may_be_small=True) == []


def test_every_package_docstring_states_its_purpose_imports_and_start() -> None:
    assert docstrings(product()) == []


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"a/__init__.py": "", "a/x.py": ""}, "a has 2 modules: fewer than 3"),
        ({"a/__init__.py": ""} | {f"a/x{number}.py": "" for number in range(20)}, "a has 21 modules: more than 20"),
        ({"x.py": "\n" * 401}, "x.py has 401 lines"),
        ({"x.py": "# Longer than 400 lines because \n" + "\n" * 400}, "x.py has 401 lines"),
    ],
)
def test_a_package_or_file_of_the_wrong_size_is_found(sources: dict[str, str], expected: str) -> None:
    (breach,) = sizes(parse(sources))
    assert expected in breach


def test_allowed_sizes_pass() -> None:
    inner = {f"a/{package}/{name}.py": "" for package in "bc" for name in ("__init__", "x", "y")}
    long = "# Longer than 400 lines because it is one table\n" + "\n" * 400
    assert sizes(parse({"a/__init__.py": "", **inner, "x.py": "\n" * 400, "y.py": long})) == []


@pytest.mark.parametrize("may_be_small", [True, False])
def test_only_a_test_folder_may_be_small_for_a_reason(may_be_small: bool) -> None:
    stated, missing = '"""Fewer than three files because one is enough."""', '"""Fewer than three files because"""'
    for reason, allowed in ((stated, may_be_small), (missing, False), ("", False)):
        assert (sizes(parse({"a/__init__.py": reason, "a/x.py": ""}), may_be_small) == []) == allowed


_ROW = {"a": ("edge.core", "edge.spool", "commands.*")}
_GOOD = "Does things.\n\nMay import `core`, `edge.spool`\nand `commands`. Start with `x`: the first."


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        (_GOOD.replace("\n", " "), "a docstring of 1 lines"),
        (_GOOD + "\n3\n4\n5\n6", "a docstring of 7 lines"),
        (_GOOD.replace("`core`, ", ""), "the docstring allows ['edge.spool', 'commands'], the table"),
        (_GOOD.replace("`core`", "`store`"), "the docstring allows ['store', 'edge.spool', 'commands'], the table"),
        (_GOOD.replace("`x`", "`y`"), "does not say which module to start with"),
    ],
)
def test_a_docstring_that_misleads_is_found(docstring: str, expected: str) -> None:
    (breach,) = docstrings(parse({"a/__init__.py": f'"""{docstring}"""', "a/x.py": ""}), _ROW)
    assert expected in breach


def test_a_helpful_docstring_passes() -> None:
    assert docstrings(parse({"a/__init__.py": f'"""{_GOOD}"""', "a/x.py": ""}), _ROW) == []
