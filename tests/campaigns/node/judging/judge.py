"""What became of a finished life: every check, on its folder alone. Nothing of the product is imported or run.

python -m tests.campaigns.node.judging.judge FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.campaigns.node.judging import answer_checks, sound_checks, store_checks
from tests.campaigns.node.judging.facts import Facts

CHECKS: tuple[Callable[[Facts], Iterator[str]], ...] = (
    answer_checks.it_comes_to_rest,
    sound_checks.answers_tile,
    sound_checks.every_sound_is_the_witness,
    sound_checks.every_sound_is_answered,
    sound_checks.no_sample_twice,
    sound_checks.missing_sound_is_a_gap,
    sound_checks.missing_sound_is_explained,
    store_checks.archives_open,
    store_checks.every_chunk_once,
    store_checks.catalog_matches_the_store,
    store_checks.erased_is_not_described,
    store_checks.nothing_is_left_over,
    store_checks.what_was_encrypted_is_nowhere_in_clear,
    store_checks.no_traceback,
    answer_checks.doors_agree,
    answer_checks.levels_tile,
    answer_checks.verify_is_clean,
    answer_checks.rebuild_answers_the_same,
    answer_checks.forgotten_is_nowhere,
    answer_checks.held_is_kept,
)


class Violation(NamedTuple):
    check: str
    text: str

    def __str__(self) -> str:
        return f"{self.check}: {self.text}"


def judge(folder: Path) -> list[Violation]:
    facts = Facts(folder)
    return [Violation(check.__name__, text) for check in CHECKS for text in check(facts)]


if __name__ == "__main__":
    violations = judge(Path(sys.argv[1]))
    print("\n".join(map(str, violations)) or "no violation")  # noqa: T201
    sys.exit(1 if violations else 0)
