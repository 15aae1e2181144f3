"""Answers straight from a node's data folder: behind each of its doors, and for `--via local` without any."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

from msgspec.structs import replace

from edge.catalog import CatalogReader
from edge.configuration.settings import Settings
from edge.core import wire
from edge.core.errors import DoorError, SpoolError
from edge.core.ids import is_chunk_id
from edge.spool.spool import Spool
from query_service.answer.clip import ClipMaker
from query_service.answer.facts import FactReader
from query_service.answer.presigning import Presigner
from query_service.answer.responder import Responder
from query_service.client.paging import LocalFile
from query_service.queries.protocol import Answer, Request, read_request
from query_service.queries.values import ErrorAnswer


class NodeAnswers:
    """Answers from the data folder in `settings`, in one thread: an SQLite connection belongs to one."""

    def __init__(self, settings: Settings) -> None:
        self.node = settings.node.name
        self._spool = Spool(settings.recorder.record_path, self.node)
        self._catalog = CatalogReader(settings.catalog.db_path)
        finder = FactReader(self._spool, self._catalog)
        self._responder = Responder(self.node, finder, Presigner(settings))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="answers")
        self._clips = ClipMaker(settings, lambda: NodeAnswers(_from_inside(settings)))

    async def answer(self, request: Request) -> Answer:
        """The answer, however long it takes; never raises."""
        if request.type == "clip":
            return await self._clips.answer(request)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._responder.answer, request)

    async def query(self, request: Request, timeout: float = 10.0) -> Answer:
        """The answer; DoorError when it takes longer than `timeout` seconds."""
        # read like a request through any other door, so that one place checks it
        read = read_request(wire.encode(request), self.node)
        if isinstance(read, ErrorAnswer):
            return read
        try:
            async with asyncio.timeout(timeout):
                return await self.answer(read)
        except TimeoutError:
            raise DoorError(f"{self.node}: no answer from its data folder within {timeout:g} s") from None

    def local_file(self, chunk_id: str) -> LocalFile | None:
        """The chunk's file, where it still lies in the spool."""
        if not is_chunk_id(chunk_id):
            return None
        try:
            chunk = self._spool.chunks.manifest(chunk_id)
        except SpoolError:
            return None
        path = self._spool.layout.audio_path(chunk)
        return LocalFile(path, chunk.sha256) if path.exists() else None

    async def close(self) -> None:
        with contextlib.suppress(TimeoutError):  # behind a long answer; its connection only reads
            async with asyncio.timeout(0.5):
                await asyncio.get_running_loop().run_in_executor(self._thread, self._catalog.close)
        self._thread.shutdown(wait=False, cancel_futures=True)


def _from_inside(settings: Settings) -> Settings:
    """With links to the store as the node itself reaches it."""
    return replace(settings, s3=replace(settings.s3, public_endpoint_url=""))
