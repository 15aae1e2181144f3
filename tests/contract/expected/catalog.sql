-- user_version 3, application_id 0, journal_mode delete
CREATE TABLE "archives" (
  "archive_id" TEXT NOT NULL PRIMARY KEY,
  "node" TEXT NOT NULL,
  "bucket" TEXT NOT NULL,
  "key" TEXT NOT NULL,
  "length" BIGINT NOT NULL,
  "sha256" TEXT,
  "chunks" BIGINT NOT NULL,
  "started_at" BIGINT NOT NULL,
  "ended_at" BIGINT NOT NULL,
  "planned_at" BIGINT NOT NULL,
  "uploaded_at" BIGINT,
  "plan" BLOB,
  "replaces" TEXT,
  "gone" TEXT,
  "deleted_at" BIGINT
);
CREATE TABLE "chunks" (
  "chunk_id" TEXT NOT NULL PRIMARY KEY,
  "stream_id" TEXT NOT NULL,
  "first_frame" BIGINT NOT NULL,
  "frames" BIGINT NOT NULL,
  "started_at" BIGINT NOT NULL,
  "ended_at" BIGINT NOT NULL,
  "duration" BIGINT NOT NULL,
  "uncertain" BOOLEAN NOT NULL,
  "length" BIGINT NOT NULL,
  "sha256" TEXT NOT NULL,
  "lafmax" REAL,
  "manifest" BLOB NOT NULL,
  "state" TEXT NOT NULL,
  "reason" TEXT,
  "archive_id" TEXT,
  "offset" BIGINT
);
CREATE TABLE "copies" (
  "chunk_id" TEXT NOT NULL,
  "archive_id" TEXT NOT NULL,
  "offset" BIGINT NOT NULL,
  "manifest" BLOB NOT NULL,
  PRIMARY KEY ("chunk_id", "archive_id")
);
CREATE TABLE "due" (
  "chunk_id" TEXT NOT NULL PRIMARY KEY
);
CREATE TABLE "holes" (
  "id" INTEGER PRIMARY KEY AUTOINCREMENT,
  "stream_id" TEXT NOT NULL,
  "cause" TEXT NOT NULL,
  "started_at" BIGINT NOT NULL,
  "ended_at" BIGINT NOT NULL,
  "duration" BIGINT NOT NULL
);
CREATE TABLE "notes" (
  "name" TEXT NOT NULL PRIMARY KEY,
  "value" BIGINT NOT NULL
);
CREATE TABLE "quarters" (
  "quarter" INTEGER NOT NULL PRIMARY KEY,
  "first_state" TEXT NOT NULL,
  "last_state" TEXT NOT NULL,
  "times" TEXT NOT NULL,
  "gaps" INTEGER NOT NULL,
  "sounds" INTEGER NOT NULL,
  "dbfs_seconds" INTEGER NOT NULL,
  "dbfs_energy" REAL NOT NULL,
  "dbfs_maximum" REAL,
  "dbfs_histogram" TEXT NOT NULL,
  "dba_seconds" INTEGER NOT NULL,
  "dba_energy" REAL NOT NULL,
  "dba_maximum" REAL,
  "dba_histogram" TEXT NOT NULL
);
CREATE TABLE "sounds" (
  "sound_id" TEXT NOT NULL PRIMARY KEY,
  "stream_id" TEXT NOT NULL,
  "chunk_id" TEXT NOT NULL,
  "started_at" BIGINT NOT NULL,
  "ended_at" BIGINT,
  "lafmax" REAL NOT NULL,
  "laeq" REAL NOT NULL
);
CREATE TABLE sqlite_sequence(name,seq);
CREATE TABLE "streams" (
  "stream_id" TEXT NOT NULL PRIMARY KEY,
  "ordinal" BIGINT NOT NULL,
  "record" BLOB NOT NULL,
  "correction_due" BOOLEAN NOT NULL
);
CREATE INDEX "idx_archives__uploaded_at" ON "archives" ("uploaded_at");
CREATE INDEX "idx_chunks__archive_id" ON "chunks" ("archive_id");
CREATE INDEX "idx_chunks__duration" ON "chunks" ("duration");
CREATE INDEX "idx_chunks__started_at_chunk_id" ON "chunks" ("started_at", "chunk_id");
CREATE INDEX "idx_chunks__state_started_at" ON "chunks" ("state", "started_at");
CREATE INDEX "idx_chunks__stream_id" ON "chunks" ("stream_id");
CREATE INDEX "idx_copies__archive_id" ON "copies" ("archive_id");
CREATE INDEX "idx_holes__duration" ON "holes" ("duration");
CREATE INDEX "idx_holes__started_at_ended_at" ON "holes" ("started_at", "ended_at");
CREATE INDEX "idx_holes__stream_id" ON "holes" ("stream_id");
CREATE INDEX "idx_sounds__in_time" ON "sounds" ("started_at", "sound_id", "lafmax");
CREATE INDEX "idx_sounds__loudest" ON "sounds" ("lafmax" DESC, "started_at", "sound_id");
CREATE INDEX "idx_sounds__stream_id" ON "sounds" ("stream_id");
CREATE INDEX "idx_streams__correction_due" ON "streams" ("correction_due");
CREATE INDEX "idx_streams__ordinal" ON "streams" ("ordinal");
