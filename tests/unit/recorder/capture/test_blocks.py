from __future__ import annotations

import threading

import numpy as np

from edge.recorder.capture.blocks import Block, BlockQueue


def block(number: int, frames: int = 100) -> Block:
    return Block(np.full((frames, 1), number, np.int16), number)


def test_blocks_are_returned_in_order_and_an_empty_queue_returns_none() -> None:
    blocks = BlockQueue(1_000)
    assert blocks.get(0.001) is None
    for number in range(3):
        blocks.put(block(number))
    assert [blocks.get(0).captured_at for _ in range(3)] == [0, 1, 2]  # type: ignore[union-attr]
    assert blocks.get(0.001) is None


def test_a_full_block_queue_drops_blocks_and_flags_the_next_one() -> None:
    blocks = BlockQueue(500)
    for number in range(5):
        blocks.put(block(number))
    first = blocks.get(0)
    blocks.put(block(5))
    blocks.put(block(6))
    rest = [blocks.get(0) for _ in range(3)]
    assert [item and (item.captured_at, item.lost_before) for item in (first, *rest)] == [
        (0, False), (1, False), (5, True), None,
    ]  # fmt: skip
    blocks.put(block(7))
    last = blocks.get(0)
    assert last is not None
    assert last.lost_before  # 6 was dropped


def test_no_block_is_lost_between_two_threads() -> None:
    blocks, count = BlockQueue(10_000_000), 5_000

    def produce() -> None:
        for number in range(count):
            blocks.put(block(number))

    producer = threading.Thread(target=produce)
    producer.start()
    got = [blocks.get(5) for _ in range(count)]
    producer.join()
    assert [item and item.captured_at for item in got] == list(range(count))
    assert not any(item and item.lost_before for item in got)
