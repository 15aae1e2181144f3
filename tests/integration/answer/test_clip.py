"""Clips: one exact file for a range, from the spool and a real S3 server; and every reason why there is none."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tracemalloc
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile
from msgspec.structs import replace

from edge.configuration.settings import S3, Secret, Settings
from edge.core.errors import QueryRefused
from edge.core.values import Encryption
from edge.embedded import ports
from edge.store.s3 import S3Store
from query_service import api
from query_service.answer import clip as clips
from query_service.answer import clip_quota
from query_service.answer.clip import LONGEST, ClipMaker
from query_service.queries.clip import ClipAnswer
from query_service.queries.protocol import Answer, Request, new_id
from query_service.queries.values import ErrorAnswer, Gap
from query_service.sound.report import FetchReport
from tests.support.messaging.realtime import server_in_thread
from tests.support.nodes.query_node import QueryNode, running_service
from tests.support.spool.chunks import RATE, at, audio_bytes, make_chunk, put_chunk
from tests.support.store.s3 import RunningStore
from tests.support.wait import DEADLINE


@pytest.fixture
def node(tmp_path: Path, store: RunningStore) -> QueryNode:
    """Ten chunks of a second: 0 to 5 in an archive, 6 to 9 in the spool."""
    made = QueryNode(tmp_path, chunks=10)
    made.archive(store.settings, sorted(made.audio)[:6])
    return made


@pytest.fixture
def settings(node: QueryNode, store: RunningStore) -> Settings:
    return node.with_doors(s3=store.settings)


def clip(settings: Settings, start: float, end: float) -> ClipAnswer:
    answer = api.query(settings, "local", type="clip", start=at(start), end=at(end), urls=True, timeout=DEADLINE)
    assert isinstance(answer, ClipAnswer)
    return answer


def refused(settings: Settings, start: float, end: float) -> QueryRefused:
    with pytest.raises(QueryRefused) as problem:
        clip(settings, start, end)
    return problem.value


def clip_keys(store: RunningStore) -> set[str]:
    return {key for key, _ in S3Store(store.settings).keys("imhearing/porch/clips/")}


def downloaded(answer: ClipAnswer) -> bytes:
    assert answer.clip.url is not None
    with urllib.request.urlopen(answer.clip.url, timeout=DEADLINE) as response:  # noqa: S310
        data: bytes = response.read()
    return data


def test_a_clip_across_archived_and_pending_chunks_is_exact_to_the_sample(
    node: QueryNode, settings: Settings, store: RunningStore
) -> None:
    answer = clip(settings, 4.25, 8.5)
    data = downloaded(answer)
    everything = np.concatenate(
        [soundfile.read(io.BytesIO(node.audio[name]), dtype="int16")[0] for name in sorted(node.audio)]
    )
    heard, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    np.testing.assert_array_equal(heard, everything[4 * RATE : 9 * RATE])  # whole seconds
    told = answer.clip
    assert (answer.from_, answer.to) == (at(4), at(9))
    assert (rate, told.rate, told.channels, told.frames, answer.holes) == (RATE, RATE, 1, len(heard), ())
    assert (told.bytes, told.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert told.key.startswith("imhearing/porch/clips/20260303T220004Z-")
    assert (store.folder / told.key).read_bytes() == data
    assert told.s3 == f"s3://{told.bucket}/{told.key}"


def test_the_same_range_always_gets_the_same_clip_key(settings: Settings) -> None:
    assert clip(settings, 1, 2).clip.key == clip(settings, 1, 2).clip.key != clip(settings, 1, 2.5).clip.key


def test_ranges_that_differ_by_milliseconds_get_one_clip_which_is_made_once(
    settings: Settings, store: RunningStore
) -> None:
    async def run() -> list[ClipAnswer]:
        async with api.connect(settings, "local") as door:
            asked = [Request(id=new_id(), type="clip", from_=at(1 + n / 1000), to=at(3 - n / 1000)) for n in range(5)]
            answers = [await door.query(request, DEADLINE) for request in asked]
        return [answer for answer in answers if isinstance(answer, ClipAnswer)]

    before = clip_keys(store)
    answers = asyncio.run(run())
    (key,) = {answer.clip.key for answer in answers}
    assert len(answers) == 5
    assert clip_keys(store) == before | {key}
    assert {(answer.from_, answer.to) for answer in answers} == {(at(1), at(3))}


def test_a_clip_that_was_deleted_in_the_store_is_made_again(settings: Settings, store: RunningStore) -> None:
    async def run() -> None:
        async with api.connect(settings, "local") as door:
            for _ in range(2):
                answer = await door.query(Request(id=new_id(), type="clip", from_=at(1), to=at(3)), DEADLINE)
                assert isinstance(answer, ClipAnswer)
                assert answer.clip.key in clip_keys(store)
                S3Store(store.settings).delete(answer.clip.key)

    asyncio.run(run())


def test_no_more_clips_are_made_in_a_day_than_the_quota_allows_not_even_after_a_restart(
    settings: Settings, store: RunningStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = clip_keys(store)  # of other tests, today
    monkeypatch.setattr(clip_quota, "CLIPS_PER_DAY", len(before) + 2)
    made = {clip(settings, -3, end).clip.key for end in (2, 3)}  # each opens the node anew
    problem = refused(settings, 0, 4)
    assert (problem.code, "as many clips as it may in a day" in str(problem)) == ("busy", True)
    assert clip_keys(store) == before | made


@pytest.mark.parametrize("urls", [False, True])
def test_a_clip_has_a_link_only_if_the_request_wants_links(settings: Settings, urls: bool) -> None:
    answer = api.query(settings, "local", type="clip", start=at(1), end=at(2), urls=urls, timeout=DEADLINE)
    assert isinstance(answer, ClipAnswer)
    assert (answer.clip.url is not None) == urls
    assert answer.clip.bytes


def test_a_gap_is_silence_in_the_clip_and_listed_in_the_answer(settings: Settings) -> None:
    answer = clip(settings, -2, 1)
    (hole,) = answer.holes
    assert isinstance(hole, Gap)
    assert (hole.from_, hole.to) == (at(-2), at(0))
    heard, _ = soundfile.read(io.BytesIO(downloaded(answer)), dtype="int16")
    assert (len(heard), np.abs(heard[: 2 * RATE]).max()) == (3 * RATE, 0)


def test_a_remote_client_can_request_a_clip(node: QueryNode, store: RunningStore) -> None:
    with server_in_thread() as server:
        settings = node.with_doors(server, s3=store.settings)
        with running_service(settings):
            answer = api.query(settings, "ably", type="clip", start=at(0), end=at(3), timeout=DEADLINE)
            assert isinstance(answer, ClipAnswer)
            assert answer.clip.frames == 3 * RATE


def test_a_clip_of_encrypted_sound_on_the_node_is_refused(node: QueryNode, settings: Settings) -> None:
    data = audio_bytes(50)
    plain = make_chunk(10, data)
    put_chunk(node.spool, replace(plain, encryption=Encryption(("age1x",), "0" * 64)), data)
    problem = refused(settings, 9, 11)
    assert problem.code == "encrypted"
    assert f"{plain.chunk_id}: still on the node" in str(problem)


def test_a_refused_clip_names_the_encrypted_bytes_in_the_store(
    node: QueryNode, settings: Settings, store: RunningStore
) -> None:
    data = audio_bytes(50)
    plain = make_chunk(10, data)
    put_chunk(node.spool, replace(plain, encryption=Encryption(("age1x",), "0" * 64)), data)
    key = node.archive(store.settings, [plain.chunk_id])
    problem = refused(settings, 9, 11)
    assert problem.code == "encrypted"
    assert f"{plain.chunk_id}: s3://{store.settings.s3_bucket_name}/{key} bytes " in str(problem)


def test_an_impossible_clip_is_refused_with_the_reason(
    node: QueryNode, settings: Settings, store: RunningStore
) -> None:
    assert refused(settings, -20, -10).code == "bad_request"
    too_long = refused(settings, 0, LONGEST + 1)
    assert (too_long.code, too_long.field) == ("bad_request", "to")
    assert refused(settings, 2, 1).field == "from"

    nowhere = replace(settings, s3=replace(settings.s3, endpoint_url=f"http://127.0.0.1:{ports.choose(None)}"))
    away = refused(nowhere, 7, 8)
    assert (away.code, "the object store does not answer" in str(away)) == ("internal", True)
    assert "127.0.0.1" not in str(away)

    wrong_key = replace(settings, s3=replace(settings.s3, secret_access_key=Secret("wrong")))
    assert refused(wrong_key, 7, 8).code == "forbidden"

    no_store = refused(replace(settings, s3=S3()), 7, 8)
    assert (no_store.code, "no object store" in str(no_store)) == ("internal", True)


def test_a_clip_across_a_format_change_is_refused_with_the_time_of_the_change(
    node: QueryNode, settings: Settings
) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros((RATE, 2), np.int16), RATE, format="FLAC")
    stereo = make_chunk(0, file.getvalue(), stream_id="20260303T220020Z-bbbb", start=at(10))
    put_chunk(node.spool, replace(stereo, channels=2), file.getvalue())
    problem = refused(settings, 9, 11)
    assert (problem.code, str(at(10)) in str(problem)) == ("bad_request", True)


def test_a_clip_request_reports_a_store_that_does_not_respond(node: QueryNode, store: RunningStore) -> None:
    nowhere = replace(store.settings, endpoint_url=f"http://127.0.0.1:{ports.choose(None)}")
    problem = refused(node.with_doors(s3=nowhere), 2, 5)
    assert "the object store does not answer" in str(problem)


def test_too_many_clips_at_once_are_refused_as_busy_while_other_queries_are_answered(settings: Settings) -> None:
    async def run() -> list[Answer]:
        async with api.connect(settings, "local") as door:
            asked = [Request(id=new_id(), type="clip", from_=at(0), to=at(5)) for _ in range(8)]
            answering = [asyncio.create_task(door.query(request, DEADLINE)) for request in asked]
            await asyncio.wait_for(door.query(Request(id=new_id(), type="status"), DEADLINE), DEADLINE)
            return await asyncio.gather(*answering)

    answers = asyncio.run(run())
    assert sum(isinstance(answer, ClipAnswer) for answer in answers) == 3
    assert {answer.error.code for answer in answers if isinstance(answer, ErrorAnswer)} == {"busy"}


def test_storing_a_large_clip_uses_bounded_memory(settings: Settings, tmp_path: Path, store: RunningStore) -> None:
    path = tmp_path / "clip.flac"
    data = np.random.default_rng(1).bytes(24_000_000)
    path.write_bytes(data)
    report = FetchReport(
        path=path, from_=at(0), to=at(1), rate=RATE, channels=1, frames=RATE, chunks=1, bytes_read=0, holes=()
    )
    maker = ClipMaker(settings, lambda: pytest.fail("no door is needed"))
    tracemalloc.start()
    try:
        told = maker._store(report, with_url=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (told.bytes, told.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (store.folder / told.key).read_bytes() == data
    assert peak < 12_000_000  # half of the clip; most of it is what boto3 loads


def test_a_clip_that_would_be_too_large_is_refused_before_it_is_made(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "MOST_BYTES", 3 * 3 * RATE)  # three seconds
    assert clip(settings, 2, 5).clip.frames == 3 * RATE
    problem = refused(settings, 2, 8)
    assert (problem.code, problem.field) == ("bad_request", "to")
    assert "ask for at most 3 s at a time, or fetch the range" in str(problem)


def test_ten_minutes_of_48_khz_24_bit_stereo_fit_into_a_clip() -> None:
    assert clips.MOST_BYTES >= 600 * 48_000 * 2 * 3
