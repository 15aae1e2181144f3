"""Modules that decide do no I/O and read no clock: what they need is handed in, so that any case can be tested.

They may import only what keeps that promise too. An import that only annotations use does not count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.unit.architecture.source_tree import Module, Modules, imports, parse, product
from tests.unit.architecture.test_libraries import LIBRARIES

PURE = (
    "commands.show.coverage_bar",
    "commands.show.formats",
    "edge.archiver.plan.budget",
    "edge.archiver.plan.bundle",
    "edge.archiver.plan.plan",
    "edge.archiver.upload.parts",
    "edge.catalog.rollup.summary",
    "edge.catalog.rollup.tiling",
    "edge.configuration.malformed",
    "edge.configuration.schedule",
    "edge.configuration.sun",
    "edge.core.instant",
    "edge.core.values",
    "edge.recorder.signal.calibration",
    "edge.recorder.signal.input_watch",
    "edge.recorder.signal.levels",
    "edge.recorder.signal.sounds",
    "edge.recorder.signal.weighting",
    "edge.recorder.timing.clock",
    "edge.recorder.timing.continuity",
    "edge.spool.thresholds",
    "edge.store.refusals",
    "query_service.answer.coverage",
    "query_service.answer.levels",
    "query_service.answer.loudest",
    "query_service.answer.sounds",
    "query_service.answer.states",
    "query_service.loopback.history",
    "query_service.loopback.inbound",
    "query_service.loopback.publish_ids",
    "query_service.queries.cursors",
    "query_service.telemetry.metrics",
    "query_service.telemetry.report",
)
# not pure themselves, but what the modules above use of them is
HARMLESS = {
    "edge.configuration.calibration_file": "only its record of a calibration, and none of the functions that read it",
    "edge.configuration.settings": "its defaults are paths, which it never opens",
    "edge.recorder.signal.compiled_meter": "arithmetic, from a library that it loads once",
    "edge.core.ids": "random letters for a new stream, which no module above makes",
    "edge.core.wire": "writes a path as text",
    "query_service.queries.protocol": "a random id for a new request, which no module above makes",
}
IO = {
    *(LIBRARIES.keys() - {"rich"}),  # rich also formats text
    *("asyncio", "concurrent", "ctypes", "fcntl", "glob", "http", "io", "logging", "mmap", "multiprocessing", "os"),
    *("pathlib", "platform", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl"),
    *("subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid", "zoneinfo"),
}
CALLS = {"open", "print", "input"}  # built in
CLOCKS = {"now", "today", "utcnow", "monotonic", "perf_counter"}  # of `datetime`, `date`, or a clock of ours


def pure_logic(modules: Modules, pure: tuple[str, ...] = PURE) -> list[str]:
    """What keeps a module of `pure` from being pure: its imports, theirs in turn, its calls."""
    breaches: list[str] = [f"no module {name}" for name in pure if name not in modules]
    seen: set[str] = set()
    waiting = [name for name in pure if name in modules]
    for name in waiting:  # grows while it is walked
        if name in seen or name in HARMLESS:
            continue
        seen.add(name)
        module = modules[name]
        used = {imported for imported in imports(module, modules, False) if not _only_annotates(imported, module)}
        waiting += sorted(used & modules.keys())
        breaches += [f"{module.path} imports {i}" for i in sorted({i.split(".")[0] for i in used} & IO)]
        breaches += [f"{module.path} calls {call}" for call in _calls(module.tree)]
    return breaches


def _only_annotates(imported: str, module: Module) -> bool:
    """Whether annotations alone use what `from imported import ...` brings, wherever it stands."""
    nodes = list(ast.walk(module.tree))
    if any(isinstance(node, ast.Import) and any(a.name == imported for a in node.names) for node in nodes):
        return False
    names = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if imported in (node.module, f"{node.module}.{alias.name}")
    }
    annotations = {inner for node in nodes for inner in _annotation(node)}
    used = [node for node in nodes if isinstance(node, ast.Name) and node.id in names]
    return bool(used) and all(node in annotations for node in used)


def _annotation(node: ast.AST) -> Iterator[ast.AST]:
    for field in ("annotation", "returns"):
        annotation = getattr(node, field, None)
        if annotation is not None:
            yield from ast.walk(annotation)


def _calls(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in CALLS:
                yield called.id
            if isinstance(called, ast.Attribute) and called.attr in CLOCKS:
                yield ast.unparse(called)


def test_logic_does_no_io_and_reads_no_clock() -> None:
    assert pure_logic(product()) == []


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"a.py": "import os.path"}, "a.py imports os"),
        ({"a.py": "from time import monotonic"}, "a.py imports time"),
        ({"a.py": "def f():\n    import paho.mqtt.client"}, "a.py imports paho"),
        ({"a.py": "import pathlib"}, "a.py imports pathlib"),
        ({"a.py": "from pathlib import Path\nHERE = Path()"}, "a.py imports pathlib"),
        ({"a.py": "import b", "b.py": "import c.d", "c/d.py": "import socket"}, "c/d.py imports socket"),
        ({"a.py": "from b import read", "b.py": "import os"}, "b.py imports os"),
        ({"a.py": "def f(path):\n    return open(path)"}, "a.py calls open"),
        ({"a.py": "from datetime import date\nDAY = date.today()"}, "a.py calls date.today"),
        ({"a.py": "from datetime import datetime as d\ndef f():\n    return d.now()"}, "a.py calls d.now"),
        ({"a.py": "def f(self):\n    return self._clock.monotonic()"}, "a.py calls self._clock.monotonic"),
        ({"b.py": ""}, "no module a"),
    ],
)
def test_io_and_clocks_are_found(sources: dict[str, str], expected: str) -> None:
    assert pure_logic(parse(sources), ("a",)) == [expected]


@pytest.mark.parametrize(
    "sources",
    [
        {"a.py": "from pathlib import Path\ndef f(a: Path | None) -> list[Path]: ..."},
        {"a.py": "from b import Reader\ndef f(reader: Reader) -> int:\n    return reader.read()", "b.py": "import os"},
        {"a.py": "if TYPE_CHECKING:\n    import os"},
        {"a.py": "import math, b", "b.py": "from datetime import datetime\ndef f(now: datetime): ..."},
        {"a.py": "from edge.core import ids", "edge/core/ids.py": "import secrets"},
        {"b.py": "import os, time", "a.py": ""},
    ],
)
def test_pure_logic_passes(sources: dict[str, str]) -> None:
    assert pure_logic(parse(sources), ("a",)) == []
