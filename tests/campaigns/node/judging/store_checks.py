"""Checks of bucket, catalog and folders: everything is there once, can be read, and nothing else is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.campaigns.node.judging.facts import Facts

_TRACEBACK = "Traceback (most recent call last):"
_EXPECTED = re.compile(
    r"""(
    \.holds\.json\.lock | holds\.json | catalog\.db(\.lock|\.old|\.reserve|\.damaged-\w+(-journal)?)? |
    \.instance\.lock | instance | recorder(/node\.json)? | orders(/result-[0-9a-f]{16}\.json)? |
    spool(/(
        \.recorder\.lock | \.mark | settings\.json | state\.json | pause\.json | exceeded\.json | parts |
        [0-9TZ]+-\w{4}\.stream\.json | [0-9TZ]+-\w{4}-\d{6}\.(json|flac|wav|flac\.age|wav\.age|retained)
    ))? )""",
    re.VERBOSE,
)


def archives_open(facts: Facts) -> Iterator[str]:
    """Each archive is a whole zip, with a manifest that describes each member as it is."""
    for path in facts.archives:
        try:
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():
                    yield f"{path.name}: {damaged} is damaged"
                names = [name for name in archive.namelist() if name != "manifest.json"]
                chunks = json.loads(archive.read("manifest.json"))["chunks"]
                described = {chunk["member"]: chunk for chunk in chunks if chunk["member"] is not None}
                if len(set(names)) != len(names) or set(names) != set(described):
                    yield f"{path.name}: its manifest describes other members than it has"
                for name in names:
                    digest = hashlib.sha256(archive.read(name)).hexdigest()
                    if described.get(name, {}).get("sha256", digest) != digest:
                        yield f"{path.name}: {name} is not what its manifest says"
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as problem:
            yield f"{path.name} does not open: {problem}"


def every_chunk_once(facts: Facts) -> Iterator[str]:
    """One copy in the store; a second one, in the spool, only with keep_local, and equal.

    An archiver that lost its catalog does not know what it had uploaded and uploads it again, from the spool.
    """
    was_lost = any(event["effect"].get("lost") for event in facts.events("catalog"))
    retained = facts.settings["keep_local"] or facts.events("reconfigure")
    copies: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
    for copy in facts.copies:
        copies[copy.chunk_id].append((copy.archive, copy.data))
    for chunk_id, found in copies.items():
        archives = [archive for archive, _ in found if archive]
        if len(archives) > 1 and not was_lost:
            yield f"{chunk_id} is in {len(archives)} archives: {', '.join(archives)}"
        if len({data for _, data in found}) > 1:
            yield f"{chunk_id} has copies that differ"
        if archives and len(found) > len(archives) and not retained:
            yield f"{chunk_id} is archived and still in the spool"


def catalog_matches_the_store(facts: Facts) -> Iterator[str]:
    """Each archive is in the catalog and the other way round; each stored chunk's bytes are where it says."""
    archives = {row["archive_id"]: row for row in _rows(facts, "SELECT * FROM archives WHERE uploaded_at IS NOT NULL")}
    live = {name for name, row in archives.items() if row["gone"] is None}
    there = {path.stem: path for path in facts.archives}
    for name in sorted(there.keys() - live):
        yield f"{name} is an orphan: the catalog does not have it"
    for name in sorted(live - there.keys()):
        yield f"{name} is in the catalog, and not in the store"
    for row in _rows(facts, "SELECT * FROM chunks WHERE state = 'stored'"):
        path = there.get(row["archive_id"])
        if path is None:
            yield f"{row['chunk_id']} is answered to be in {row['archive_id']}, which is not there"
            continue
        data = path.read_bytes()[row["offset"] : row["offset"] + row["length"]]
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            yield f"{row['chunk_id']} has other bytes in {row['archive_id']} than the catalog says"
    if facts.settings["keep"] == "sounds":
        return  # the last ones wait for a sound that might have followed
    for row in _rows(facts, "SELECT * FROM chunks WHERE state IN ('waiting', 'planned', 'aside')"):
        yield f"{row['chunk_id']} is still {row['state']}"


def erased_is_not_described(facts: Facts) -> Iterator[str]:
    """Manifests and the catalog may name what was erased, and have neither its levels nor its sounds."""
    for archive, chunk in facts.descriptions:
        if chunk.get("gone") == "erased" and (chunk.get("levels") or chunk.get("sounds")):
            yield f"{archive} still has the levels or sounds of {chunk['chunk_id']}, which was erased"
    query = (
        "SELECT DISTINCT c.chunk_id FROM chunks c LEFT JOIN sounds s ON s.chunk_id = c.chunk_id"
        " WHERE c.state = 'gone' AND c.reason = 'erased' AND (c.lafmax IS NOT NULL OR s.chunk_id IS NOT NULL)"
    )
    for row in _rows(facts, query):
        yield f"the catalog still has the levels or sounds of {row['chunk_id']}, which was erased"


def nothing_is_left_over(facts: Facts) -> Iterator[str]:
    """The node's folder and the bucket hold only what the documentation lists."""
    left = facts.folder / "left"
    for path in sorted(left.rglob("*")):
        name = str(path.relative_to(left))
        if not _EXPECTED.fullmatch(name):
            yield f"{name} is left over"
    store = facts.folder / "store"
    for path in sorted(store.rglob("*")):
        if path.is_file() and path.suffix != ".zip" and "/corrections/" not in str(path):
            yield f"{path.relative_to(store)} is left over in the store"


def what_was_encrypted_is_nowhere_in_clear(facts: Facts) -> Iterator[str]:
    """And on tmpfs nothing is left, once the recorder has stopped."""
    if not facts.settings["encrypted"]:
        return
    for copy in facts.copies:
        if not copy.name.endswith(".age"):
            yield f"{copy.name} is not encrypted"
    for folder in ("left", "left_tmpfs", "store"):
        for path in (facts.folder / folder).rglob("*"):
            if path.is_file() and not path.is_symlink() and path.read_bytes()[:4] in (b"fLaC", b"RIFF"):
                yield f"{folder}/{path.name} is sound in clear"


def no_traceback(facts: Facts) -> Iterator[str]:
    for path in sorted((facts.folder / "logs").glob("*.log")):
        for error in sorted(set(_errors(path.read_text(errors="replace")))):
            yield f"{path.name} has a traceback: {error}"
    for command in facts.life["commands"]:
        for error in _errors(command["error"]):
            yield f"{' '.join(command['command'])} ended in a traceback: {error}"


def _errors(text: str) -> list[str]:
    """What each traceback ends with."""
    found = []
    for one in text.split(_TRACEBACK)[1:]:
        lines = one.splitlines()
        indent = len(lines[1]) - len(lines[1].lstrip()) - 2 if len(lines) > 1 else 0
        last = next((n for n, line in enumerate(lines[1:], 1) if len(line) - len(line.lstrip()) <= indent), 0)
        found.append(lines[last].strip() if last else "cut off")
    return found


def _rows(facts: Facts, query: str) -> list[dict[str, Any]]:
    path = facts.folder / "catalog.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]
