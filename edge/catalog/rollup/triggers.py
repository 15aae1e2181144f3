"""Notes which times a session of the writer changes, so that no change of a row can be forgotten.

Temporary, in each connection of the writer: nothing of it is on disk, and it is rolled back with the transaction.
"""

from __future__ import annotations

_CHUNK = 'INSERT INTO "touched" VALUES ({0}."started_at", {0}."ended_at", 0);'
_HOLE = 'INSERT INTO "touched" VALUES ({0}."started_at", {0}."ended_at", 1);'
_SOUND = 'INSERT INTO "touched" VALUES ({0}."started_at", {0}."started_at", 0);'
_SOUNDS_OF_CHUNK = (
    'INSERT INTO "touched" SELECT "started_at", "started_at", 0 FROM "sounds" WHERE "chunk_id" = NEW."chunk_id";'
)
# a chunk may be registered before its stream
_CHUNKS_OF_STREAM = (
    'INSERT INTO "touched" SELECT "started_at", "ended_at", 0 FROM "chunks" WHERE "stream_id" = NEW."stream_id";'
)
# of a chunk's row, what its time depends on
_ROLE = (
    """(CASE {0}."state" WHEN 'planned' THEN 'waiting' ELSE {0}."state" END, {0}."reason", {0}."started_at","""
    """ {0}."ended_at", {0}."uncertain")"""
)
_HAS_NEW_ROLE = f"{_ROLE.format('NEW')} IS NOT {_ROLE.format('OLD')}"
_WATCHED = (
    ("INSERT", "chunks", "1", _CHUNK.format("NEW")),
    ("DELETE", "chunks", "1", _CHUNK.format("OLD")),
    ("UPDATE", "chunks", _HAS_NEW_ROLE, _CHUNK.format("OLD") + _CHUNK.format("NEW")),
    ("UPDATE", "chunks", "(NEW.\"state\" = 'aside') <> (OLD.\"state\" = 'aside')", _SOUNDS_OF_CHUNK),
    ("INSERT", "holes", "1", _HOLE.format("NEW")),
    ("DELETE", "holes", "1", _HOLE.format("OLD")),
    ("UPDATE", "holes", "1", _HOLE.format("OLD") + _HOLE.format("NEW")),
    ("INSERT", "sounds", "1", _SOUND.format("NEW")),
    ("DELETE", "sounds", "1", _SOUND.format("OLD")),
    ("UPDATE", "sounds", 'NEW."started_at" <> OLD."started_at"', _SOUND.format("OLD") + _SOUND.format("NEW")),
    ("INSERT", "streams", "1", _CHUNKS_OF_STREAM),
    ("UPDATE", "streams", 'NEW."ordinal" <> OLD."ordinal"', _CHUNKS_OF_STREAM),
)

WATCH = (
    'CREATE TEMP TABLE "touched" ("started_at" INTEGER, "ended_at" INTEGER, "is_hole" INTEGER)',
    *(
        f'CREATE TEMP TRIGGER "touch_{number}" AFTER {event} ON "main"."{table}" WHEN {condition} BEGIN {action} END'
        for number, (event, table, condition, action) in enumerate(_WATCHED)
    ),
)
