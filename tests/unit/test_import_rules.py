"""Who may import whom: the layers, the one file of each outside library, pure rooms without I/O, no circles.

Read from the source by `ast`, nothing is run: an import counts wherever it stands, also inside a function.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("edge", "query_service", "commands", "imhearing")

# (who, must not import, but may import this part of it)
LAYERS: list[tuple[str, str, tuple[str, ...]]] = [
    ("edge", "query_service", ()),
    ("edge", "commands", ()),
    ("edge", "imhearing", ()),
    ("query_service", "commands", ()),
    ("query_service", "imhearing", ()),
    ("commands", "imhearing", ()),
    ("edge.recorder", "edge.archiver", ()),
    ("edge.archiver", "edge.recorder", ()),
    ("query_service", "edge.recorder", ()),
    ("query_service", "edge.archiver", ("edge.store.s3",)),  # presigned URLs
]

# Outside libraries that do I/O, and the files that may import them: a change of the library stays in that file.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "paho": ("edge/messaging/connection.py",),
    "pony": ("edge/catalog/tables.py",),
    "boto3": ("edge/store/s3.py",),
    "botocore": ("edge/store/s3.py",),
    "mypy_boto3_s3": ("edge/store/s3.py",),
    "pyaudio": ("edge/recorder/capture/microphone.py",),
    "soundfile": (
        "edge/recorder/durable/chunk_writer.py",
        "edge/recorder/capture/sound_file.py",
        "query_service/sound/audio.py",
    ),
    "ably": ("query_service/realtime/link.py",),
    "aiohttp": (
        "query_service/doors/http.py",
        "query_service/client/http.py",
        "query_service/doors/http_listener.py",
        "query_service/sound/download.py",
        "query_service/loopback/*",
    ),
    "jwt": ("query_service/realtime/tokens.py", "query_service/loopback/*"),
    "rich": ("commands/*",),
    "pyrage": ("edge/recorder/durable/sealing.py", "query_service/sound/decryption.py"),
}
ANYWHERE = {"msgspec", "numpy"}  # no I/O of their own
FOR_TYPES = {"mypy_boto3_s3"}  # not there on a node: only under `if TYPE_CHECKING:`

PURE = {
    "edge.spool.thresholds",
    "edge.recorder.timing.clock",
    "edge.recorder.timing.continuity",
    "edge.recorder.signal.input_watch",
    "edge.archiver.plan.plan",
    "edge.recorder.signal.sounds",
    "edge.recorder.signal.levels",
    "query_service.answer.coverage",
}
IMPURE = {"socket", "os", "pathlib", "subprocess", "threading", "time", "asyncio"}


class Module(NamedTuple):
    """One source file: its dotted name, its path from the root, what it is made of."""

    name: str
    path: str
    tree: ast.Module
    is_package: bool = False


Modules = Mapping[str, Module]
Rule = Callable[[Modules], list[str]]


def parse(sources: Mapping[str, str]) -> Modules:
    """Path from the root -> text, to dotted name -> module."""
    modules = {}
    for path, text in sources.items():
        parts = path.removesuffix(".py").split("/")
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules[name] = Module(name, path, ast.parse(text, path), is_package)
    return modules


def source_files() -> dict[str, str]:
    files = [file for room in OURS for file in sorted((ROOT / room).rglob("*.py"))]
    return {file.relative_to(ROOT).as_posix(): file.read_text() for file in [*files, ROOT / "imhearing.py"]}


def imports(module: Module, modules: Modules, types_too: bool = True) -> Iterator[str]:
    """The dotted name of each module imported; without those only for annotations where not `types_too`."""
    ignored = set() if types_too else set(_type_checking(module.tree))
    for node in ast.walk(module.tree):
        if node in ignored:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module)
            for alias in node.names:
                whole = f"{base}.{alias.name}"  # `from a import b`: b is a module of ours, or a name in a
                yield whole if whole in modules else base


def _absolute(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    parents = module.name.split(".")
    up = node.level - 1 if module.is_package else node.level
    return ".".join([*parents[: len(parents) - up], *([node.module] if node.module else [])])


def _type_checking(tree: ast.Module) -> Iterator[ast.AST]:
    """All that stands under `if TYPE_CHECKING:`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for statement in node.body:
                yield from ast.walk(statement)


def within(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def layers(modules: Modules) -> list[str]:
    return [
        f"{module.path} imports {name}: {room} must not import {forbidden}"
        for module in modules.values()
        for name in imports(module, modules)
        for room, forbidden, allowed in LAYERS
        if within(module.name, room) and within(name, forbidden) and not any(within(name, part) for part in allowed)
    ]


def libraries(modules: Modules) -> list[str]:
    """Each outside library only in its own files, and none that is not in the table."""
    known = {*OURS, *ANYWHERE, *sys.stdlib_module_names}
    breaches = []
    for module in modules.values():
        running = {name.split(".")[0] for name in imports(module, modules, types_too=False)}
        breaches += [f"{module.path} runs {name}: it holds types alone" for name in sorted(running & FOR_TYPES)]
        for library in sorted({name.split(".")[0] for name in imports(module, modules)} - known):
            allowed = LIBRARIES.get(library, ())
            if not any(fnmatchcase(module.path, pattern) for pattern in allowed):
                breaches.append(f"{module.path} imports {library}: only {', '.join(allowed) or 'nobody'} may")
    return breaches


def pure_rooms(modules: Modules) -> list[str]:
    """No I/O, no clock, no threads in pure rooms; `Path` may name a type."""
    breaches = []
    for module in (modules[name] for name in sorted(PURE & modules.keys())):
        taken = {name.split(".")[0] for name in imports(module, modules, types_too=False)} & IMPURE
        if "pathlib" in taken and _only_types(module.tree, "pathlib"):
            taken.discard("pathlib")
        breaches += [f"{module.path} imports {name}: it must stay free of I/O" for name in sorted(taken)]
    return breaches


def _only_types(tree: ast.Module, library: str) -> bool:
    """Whether what comes from `library` is used in annotations alone."""
    nodes = list(ast.walk(tree))
    if any(isinstance(node, ast.Import) and any(a.name == library for a in node.names) for node in nodes):
        return False
    taken = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == library]
    names = {alias.asname or alias.name for node in taken for alias in node.names}
    used = [node for node in nodes if isinstance(node, ast.Name) and node.id in names]
    annotations = {inner for node in nodes for inner in _annotation(node)}
    return all(node in annotations for node in used)


def _annotation(node: ast.AST) -> Iterator[ast.AST]:
    for field in ("annotation", "returns"):
        annotation = getattr(node, field, None)
        if annotation is not None:
            yield from ast.walk(annotation)


def circles(modules: Modules) -> list[str]:
    graph = {
        module.name: sorted(set(imports(module, modules, types_too=False)) & modules.keys())
        for module in modules.values()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        return ["a circle of imports: " + " <- ".join(circle.args[1])]
    return []


def client_stays_remote(modules: Modules) -> list[str]:
    """A client asks nodes: it reaches the code that answers neither itself nor through others."""
    seen: set[str] = set()
    waiting = [name for name in modules if within(name, "query_service.client")]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in modules:
            continue
        seen.add(name)
        waiting += imports(modules[name], modules, types_too=False)
    return [f"query_service.client reaches {name}" for name in sorted(seen) if within(name, "query_service.answer")]


RULES: list[Rule] = [layers, libraries, pure_rooms, circles, client_stays_remote]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_source_keeps_the_rule(rule: Rule) -> None:
    modules = parse(source_files())
    assert {"edge.core.errors", "edge.recorder", "query_service", "commands", "imhearing"} <= modules.keys()
    assert rule(modules) == []


BROKEN: list[tuple[Rule, dict[str, str], str]] = [
    (layers, {"edge/a.py": "from query_service import tokens"}, "edge must not import query_service"),
    (layers, {"edge/a.py": "def f():\n    import commands.up.up"}, "edge must not import commands"),
    (layers, {"query_service/a.py": "import imhearing"}, "query_service must not import imhearing"),
    (layers, {"edge/recorder/a.py": "import edge.archiver.plan.plan"}, "edge.recorder must not import edge.archiver"),
    (layers, {"edge/recorder/a.py": "from ..archiver import plan"}, "edge.recorder must not import edge.archiver"),
    (layers, {"edge/archiver/a.py": "from edge import recorder", "edge/recorder/__init__.py": ""}, "edge.recorder"),
    (layers, {"query_service/a.py": "from edge.archiver.plan.plan import Plan"}, "must not import edge.archiver"),
    (
        libraries,
        {"edge/spool/spool.py": "import paho.mqtt.client"},
        "paho: only edge/messaging/connection.py may",
    ),
    (libraries, {"query_service/answer/coverage.py": "from aiohttp import web"}, "imports aiohttp"),
    (libraries, {"commands/a.py": "try:\n    import requests\nexcept ImportError: pass"}, "requests: only nobody may"),
    (libraries, {"edge/a.py": "from tests.support import wait"}, "imports tests"),
    (libraries, {"edge/store/s3.py": "import mypy_boto3_s3"}, "runs mypy_boto3_s3"),
    (pure_rooms, {"edge/spool/thresholds.py": "import os.path"}, "imports os"),
    (pure_rooms, {"edge/recorder/timing/clock.py": "from time import monotonic"}, "imports time"),
    (pure_rooms, {"edge/archiver/plan/plan.py": "from pathlib import Path\nHERE = Path()"}, "imports pathlib"),
    (pure_rooms, {"edge/archiver/plan/plan.py": "import pathlib"}, "imports pathlib"),
    (circles, {"edge/a.py": "import edge.b", "edge/b.py": "from edge import a"}, "a circle of imports"),
    (
        client_stays_remote,
        {
            "query_service/client/a.py": "from query_service.doors import b",
            "query_service/doors/b.py": "def f():\n    import query_service.answer.c",
            "query_service/answer/c.py": "",
        },
        "query_service.client reaches query_service.answer.c",
    ),
    (circles, {"edge/__init__.py": "from .a import x", "edge/a.py": "from . import y"}, "a circle of imports"),
]


@pytest.mark.parametrize(("rule", "sources", "told"), BROKEN)
def test_a_breach_is_found(rule: Rule, sources: dict[str, str], told: str) -> None:
    breaches = rule(parse(sources))
    assert len(breaches) == 1
    assert told in breaches[0]


ALLOWED: list[tuple[Rule, dict[str, str]]] = [
    (layers, {"query_service/a.py": "from edge.store.s3 import S3Store\nimport edge.catalog"}),
    (layers, {"imhearing.py": "import commands, query_service, edge.recorder"}),
    (layers, {"edge/recordings.py": "import edge.archiver.plan.plan"}),
    (libraries, {"query_service/loopback/hub.py": "import aiohttp.web, numpy, msgspec, zoneinfo"}),
    (
        pure_rooms,
        {"edge/recorder/timing/clock.py": "from pathlib import Path\ndef f(a: Path | None) -> list[Path]: ..."},
    ),
    (libraries, {"edge/store/s3.py": "if TYPE_CHECKING:\n    from mypy_boto3_s3 import S3Client"}),
    (pure_rooms, {"edge/spool/spool.py": "import os, time"}),
    (circles, {"edge/a.py": "if TYPE_CHECKING:\n    import edge.b", "edge/b.py": "import edge.a"}),
]


@pytest.mark.parametrize(("rule", "sources"), ALLOWED)
def test_what_is_allowed_passes(rule: Rule, sources: dict[str, str]) -> None:
    assert rule(parse(sources)) == []
