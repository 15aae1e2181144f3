"""Admission, deduplication, deadline and answer, whichever way a request came."""

from __future__ import annotations

import asyncio

import pytest

from edge.messaging.request_pipeline import Refused, ReplayCache, Reply, RequestPipeline, Ticket


def admitted(pipeline: RequestPipeline, key: str = "1", body: bytes = b"body", sender: str = "ann") -> Ticket:
    ticket = pipeline.admit(sender, (sender, key), body, 10.0)
    assert ticket is not None
    return ticket


def refusal(pipeline: RequestPipeline, key: str, body: bytes = b"body", sender: str = "ann") -> str:
    with pytest.raises(Refused) as caught:
        pipeline.admit(sender, (sender, key), body)
    return caught.value.body.code


def never() -> Reply:
    raise AssertionError("computed although the answer is known")


def test_no_more_than_the_limit_are_admitted_until_one_is_released() -> None:
    pipeline = RequestPipeline(2)
    first = admitted(pipeline)
    admitted(pipeline)
    assert refusal(pipeline, "3") == "busy"
    pipeline.release(first)
    admitted(pipeline)
    assert refusal(pipeline, "4") == "busy"


def test_one_sender_cannot_use_up_the_admission_limit() -> None:
    pipeline = RequestPipeline(3, 2)
    tickets = [admitted(pipeline) for _ in range(2)]
    assert refusal(pipeline, "3") == "busy"
    admitted(pipeline, sender="bob")
    for ticket in tickets:
        pipeline.release(ticket)
    admitted(pipeline)


def test_a_refused_request_counts_as_new_when_repeated() -> None:
    pipeline = RequestPipeline(1, replays=ReplayCache())
    first = admitted(pipeline)
    assert refusal(pipeline, "2") == "busy"
    pipeline.release(first)
    assert pipeline.answer_now(admitted(pipeline, "2"), lambda: Reply(b"computed")) == b"computed"


def test_a_repeated_request_gets_the_same_answer_and_a_different_one_is_refused() -> None:
    pipeline = RequestPipeline(9, replays=ReplayCache())
    ticket = admitted(pipeline)
    assert pipeline.admit("ann", ("ann", "1"), b"body") is None  # the first one's answer is on its way
    assert pipeline.answer_now(ticket, lambda: Reply(b"answer")) == b"answer"
    assert pipeline.answer_now(admitted(pipeline), never) == b"answer"
    assert refusal(pipeline, "1", b"other") == "bad_request"
    admitted(pipeline, body=b"other", sender="bob")


def test_requests_answered_in_turn_each_get_the_answer_of_the_first() -> None:
    pipeline = RequestPipeline(9, replays=ReplayCache(), in_turn=True)
    first, second = admitted(pipeline), admitted(pipeline)
    assert pipeline.answer_now(first, lambda: Reply(b"answer")) == b"answer"
    assert pipeline.answer_now(second, never) == b"answer"


def test_an_answer_that_is_not_final_is_computed_again() -> None:
    pipeline = RequestPipeline(9, replays=ReplayCache())
    assert pipeline.answer_now(admitted(pipeline), lambda: Reply(b"busy", is_final=False)) == b"busy"
    assert pipeline.answer_now(admitted(pipeline), lambda: Reply(b"answer")) == b"answer"


def test_a_request_past_its_deadline_is_refused_and_can_be_repeated() -> None:
    now = [0.0]
    pipeline = RequestPipeline(9, replays=ReplayCache(), clock=lambda: now[0])
    late = admitted(pipeline)
    now[0] = 10.1
    with pytest.raises(Refused) as caught:
        pipeline.answer_now(late, never)
    assert caught.value.body.code == "deadline"
    assert pipeline.answer_now(admitted(pipeline), lambda: Reply(b"answer")) == b"answer"


def test_a_withdrawn_request_frees_its_slot_and_its_id() -> None:
    pipeline = RequestPipeline(1, replays=ReplayCache())
    pipeline.withdraw(admitted(pipeline))
    assert pipeline.answer_now(admitted(pipeline), lambda: Reply(b"answer")) == b"answer"


def test_withdrawing_a_repeated_request_keeps_the_cached_answer() -> None:
    pipeline = RequestPipeline(1, replays=ReplayCache())
    first = admitted(pipeline)
    pipeline.answer_now(first, lambda: Reply(b"answer"))
    pipeline.release(first)
    pipeline.withdraw(admitted(pipeline))
    assert pipeline.answer_now(admitted(pipeline), never) == b"answer"


def test_a_computation_that_fails_or_is_cancelled_does_not_block_its_id() -> None:
    pipeline = RequestPipeline(9, replays=ReplayCache())

    async def fail() -> Reply:
        raise asyncio.CancelledError

    async def answer() -> Reply:
        return Reply(b"answer")

    async def run() -> bytes:
        with pytest.raises(asyncio.CancelledError):
            await pipeline.answer(admitted(pipeline), fail)
        return await pipeline.answer(admitted(pipeline), answer)

    assert asyncio.run(run()) == b"answer"


def test_admission_ends_with_its_with_block() -> None:
    pipeline = RequestPipeline(1)
    with pipeline.admitted("ann"), pytest.raises(Refused), pipeline.admitted("bob"):
        pass
    with pipeline.admitted("bob"):
        pass
