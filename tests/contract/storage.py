"""What lies in the store and in the catalog: archives byte for byte, rows, tables."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.contract.fixed_spool import DAY, at
from tests.contract.output import Output
from tests.contract.redaction import shape, without_moment
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.contract.running import Node

_HELD, _ERASED = (at(0), at(1)), (at(2), at(3))


def write_plan(output: Output, catalog: Path) -> None:
    """The rows of an archiver that cannot reach its store: what was committed before any byte moved."""
    rows = _rows(catalog)
    output.json("storage/planned/rows.json", rows)


def wait_until_planned(catalog: Path, archives: int) -> None:
    def planned() -> bool:
        with contextlib.suppress(sqlite3.Error), _reading(catalog) as database:
            return len(database.execute("SELECT 1 FROM archives").fetchall()) >= archives
        return False

    wait_until(planned, f"{archives} archives are planned", 60)


def give_order(output: Output, node: Node) -> None:
    """Without an archiver an order to erase stays in its folder."""
    node.run("forget", "--from", at(9), "--to", at(10), "--yes", "--timeout", "0.1")
    orders = [json.loads(path.read_bytes()) for path in (node.data / "orders").glob("erase-*.json")]
    output.lines("files/order.shape", shape(*orders))


def live_manifests(data: Path) -> list[dict[str, Any]]:
    """Of the archives of what was recorded just now."""
    manifests: list[dict[str, Any]] = []
    for path in (data / "store").rglob("*.zip"):
        if not path.name.startswith(DAY.replace("-", "")):
            with zipfile.ZipFile(path) as archive:
                manifests.append(json.loads(archive.read("manifest.json")))
    return manifests


def wait_until_archived(data: Path, archives: int) -> None:
    """Until the catalog says that so many are in the store."""
    wait_until(lambda: len(_uploaded(data / "catalog.db")) >= archives, f"{archives} archives are uploaded", 60)


def write(output: Output, data: Path, when: str) -> None:
    """Objects and the catalog's rows at this moment."""
    store = data / "store"
    objects = {str(path.relative_to(store)): _object(path) for path in sorted(store.rglob("*")) if path.is_file()}
    output.json(f"storage/{when}/objects.json", objects)
    output.json(f"storage/{when}/rows.json", _rows(data / "catalog.db"))


def erase(output: Output, node: Node) -> None:
    """Holds one second, forgets others: of the first nothing may go, from the second an archive is rewritten."""
    ended = [
        node.run("hold", "--from", _HELD[0], "--to", _HELD[1]),
        node.run("forget", "--from", _HELD[0], "--to", _HELD[1], "--yes"),
        node.run("forget", "--from", _ERASED[0], "--to", _ERASED[1], "--yes"),
        node.run("catalog", "verify", "--json"),
        node.run("query", "--from", at(0), "--to", at(11), "--utc"),
    ]
    output.text("storage/erased/commands.txt", "\n".join(_printed(each, node) for each in ended))
    output.text("files/holds.json", (node.data / "holds.json").read_text())
    results = [json.loads(path.read_bytes()) for path in sorted((node.data / "orders").glob("result-*.json"))]
    output.lines("files/order-result.shape", shape(*results))
    write(output, node.data, "erased")


def write_schema(output: Output, catalog: Path) -> None:
    with _reading(catalog) as database:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        application = database.execute("PRAGMA application_id").fetchone()[0]
        journal = database.execute("PRAGMA journal_mode").fetchone()[0]
        tables = database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name")
        head = f"-- user_version {version}, application_id {application}, journal_mode {journal}\n"
        output.text("catalog.sql", head + "\n".join(f"{row[0]};" for row in tables))


def _printed(ended: Any, node: Node) -> str:
    text = (ended.out + ended.err).replace(str(node.data), "<data>")
    return f"exit code {ended.code}\n{text}"


def _object(path: Path) -> dict[str, Any]:
    described: dict[str, Any] = {"bytes": path.stat().st_size, "sha256": _sha256(path.read_bytes())}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            described["members"] = {
                info.filename: {"header_at": info.header_offset, "sha256": _sha256(archive.read(info))}
                for info in archive.infolist()
            }
            described["manifest"] = shape(json.loads(archive.read("manifest.json")))
    return described


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _uploaded(catalog: Path) -> list[Any]:
    with contextlib.suppress(sqlite3.Error), _reading(catalog) as database:
        return database.execute("SELECT 1 FROM archives WHERE uploaded_at IS NOT NULL").fetchall()
    return []


def _reading(catalog: Path) -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(f"file:{catalog}?mode=ro", uri=True))


def _rows(catalog: Path) -> dict[str, Any]:
    """Every table's rows; what was noted about this run, such as when, is left out."""
    with _reading(catalog) as database:
        found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        names = [row[0] for row in found]
        return {name: _table(database, name) for name in names if not name.startswith("sqlite_")}


def _table(database: sqlite3.Connection, name: str) -> list[dict[str, Any]]:
    cursor = database.execute(f'SELECT * FROM "{name}" ORDER BY 1')  # noqa: S608 - a name of the schema
    columns = [column[0] for column in cursor.description]
    return [without_moment({c: _cell(v) for c, v in zip(columns, row, strict=True)}) for row in cursor]


def _cell(value: Any) -> Any:
    """Of a plan what it unpacks to; what is packed with a dictionary of ours as it lies there."""
    if not isinstance(value, bytes):
        return value
    with contextlib.suppress(zlib.error):
        unpacked = zlib.decompress(value)
        return f"zlib of {len(unpacked)} bytes, SHA-256 {_sha256(unpacked)}"
    return f"{len(value)} bytes, SHA-256 {_sha256(value)}"
