"""Frees the reference cycles that the S3 and Ably SDKs leave behind."""

from __future__ import annotations

import gc
from functools import cache


def free_reference_cycles() -> None:
    """Runs a full garbage collection. Python's own would wait until a quarter of all objects are new: hours, here.

    The first call (40 ms) also freezes what survives it, mostly modules, so that later calls cost next to nothing.
    """
    gc.collect()
    _freeze()


@cache  # whether anything is frozen would be found by counting it
def _freeze() -> None:
    gc.freeze()
