"""Each outside library that does I/O is imported in one file or one package, so that changing it stays local."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase

import pytest

from tests.unit.architecture.source_tree import PRODUCT, Modules, imports, parse, product

# the library, and the files that may import it
LIBRARIES: dict[str, tuple[str, ...]] = {
    "paho": ("edge/messaging/connection.py",),
    "pony": ("edge/catalog/tables.py",),
    "boto3": ("edge/store/clients.py",),
    "botocore": (
        "edge/store/bounded_session.py",
        "edge/store/clients.py",
        "edge/store/links.py",
        "edge/store/s3_connection.py",
        "edge/store/settings_fault.py",
    ),
    "urllib3": ("edge/store/bounded_session.py",),
    "mypy_boto3_s3": ("edge/store/clients.py", "edge/store/s3_connection.py"),
    "pyaudio": ("edge/recorder/capture/microphone.py",),
    "soundfile": (
        "edge/recorder/durable/chunk_writer.py",
        "edge/recorder/capture/sound_file.py",
        "query_service/sound/audio.py",
    ),
    "ably": ("query_service/realtime/link.py",),
    "aiohttp": (
        "query_service/doors/http.py",
        "query_service/doors/http_listener.py",
        "query_service/doors/event_streams.py",
        "query_service/doors/page_actions.py",
        "query_service/doors/page_routes.py",
        "query_service/client/http.py",
        "query_service/sound/download.py",
        "query_service/loopback/*",
    ),
    "jwt": ("query_service/realtime/tokens.py", "query_service/loopback/*"),
    "rich": ("commands/*",),
    "pyrage": ("edge/recorder/durable/sealing.py", "query_service/sound/decryption.py"),
}
ANYWHERE = {"msgspec", "numpy"}  # no I/O of their own
ONLY_TYPES = {"mypy_boto3_s3"}  # not installed on a node: only under `if TYPE_CHECKING:`


def libraries(modules: Modules) -> list[str]:
    """Imports of an outside library from a file that may not, or of one that is not in the table."""
    known = {*PRODUCT, "imhearing", *ANYWHERE, *sys.stdlib_module_names}
    breaches = []
    for module in modules.values():
        running = {name.split(".")[0] for name in imports(module, modules, types_too=False)}
        breaches += [f"{module.path} runs {name}, which holds only types" for name in sorted(running & ONLY_TYPES)]
        for library in sorted({name.split(".")[0] for name in imports(module, modules)} - known):
            allowed = LIBRARIES.get(library, ())
            if not any(fnmatchcase(module.path, pattern) for pattern in allowed):
                breaches.append(f"{module.path} imports {library}: only {', '.join(allowed) or 'nobody'} may")
    return breaches


def test_each_library_is_imported_only_in_its_own_files() -> None:
    assert libraries(product()) == []


def test_every_file_in_the_table_imports_its_library() -> None:
    imported = {
        (library, path)
        for library, paths in LIBRARIES.items()
        for path in paths
        for module in product().values()
        if fnmatchcase(module.path, path) and library in {i.split(".")[0] for i in imports(module, product())}
    }
    assert {(library, path) for library, paths in LIBRARIES.items() for path in paths} == imported


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"edge/spool/spool.py": "import paho.mqtt.client"}, "paho: only edge/messaging/connection.py may"),
        ({"query_service/answer/coverage.py": "from aiohttp import web"}, "imports aiohttp"),
        ({"commands/a.py": "try:\n    import requests\nexcept ImportError: pass"}, "requests: only nobody may"),
        ({"edge/a.py": "from tests.support import wait"}, "imports tests"),
        ({"edge/store/s3_connection.py": "import mypy_boto3_s3"}, "runs mypy_boto3_s3"),
    ],
)
def test_a_library_in_a_foreign_file_is_found(sources: dict[str, str], expected: str) -> None:
    (breach,) = libraries(parse(sources))
    assert expected in breach


@pytest.mark.parametrize(
    "sources",
    [
        {"query_service/loopback/hub.py": "import aiohttp.web, numpy, msgspec, zoneinfo"},
        {"edge/store/s3_connection.py": "if TYPE_CHECKING:\n    from mypy_boto3_s3 import S3Client"},
    ],
)
def test_a_library_in_its_own_files_passes(sources: dict[str, str]) -> None:
    assert libraries(parse(sources)) == []
