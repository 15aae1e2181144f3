"""Every target, by name."""

from __future__ import annotations

import functools

from tests.fuzz import bucket_targets, file_targets, message_targets
from tests.fuzz.target import Target


@functools.cache
def all_targets() -> dict[str, Target]:
    every = (*bucket_targets.targets(), *message_targets.targets(), *file_targets.targets())
    return {target.name: target for target in every}
