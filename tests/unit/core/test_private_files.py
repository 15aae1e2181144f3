"""Which files with secrets are private enough."""

from __future__ import annotations

import os

import pytest

from edge.core.files import can_others_read


@pytest.mark.parametrize(
    ("mode", "owner", "group", "exposed"),
    [
        (0o600, 1000, 1000, False), (0o640, 1000, 1000, True), (0o640, 0, 0, True), (0o640, 0, 998, False),
        (0o660, 0, 998, True), (0o644, 0, 998, True), (0o604, 0, 998, True),
    ],
)  # fmt: skip
def test_a_file_with_secrets_is_for_its_owner_and_a_group_that_root_gave_it_to(
    mode: int, owner: int, group: int, exposed: bool
) -> None:
    found = os.stat_result((0o100000 | mode, 1, 1, 1, owner, group, 0, 0, 0, 0))
    assert can_others_read(found) is exposed
