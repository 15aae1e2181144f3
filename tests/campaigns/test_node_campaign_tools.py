"""What the node campaign is made of, without a node: plans, shrinking, results, and a judge that stands alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaigns.node import results
from tests.campaigns.node.choices import KINDS
from tests.campaigns.node.faults.injectors import INJECTORS
from tests.campaigns.node.judging.judge import Violation
from tests.campaigns.node.plan import Fault, LifeSettings, Plan, make_plan
from tests.campaigns.node.shrink import shrink


@pytest.mark.parametrize("seed", range(20))
def test_a_seed_always_gives_the_same_plan_and_a_plan_survives_its_file(seed: int) -> None:
    plan = make_plan(seed)
    assert make_plan(seed) == plan
    assert Plan.from_json(plan.to_json()) == plan
    assert all(0 < fault.at < plan.seconds for fault in plan.faults)


def test_a_thousand_seeds_have_every_kind_of_fault_and_each_has_an_injector() -> None:
    assert {fault.kind for seed in range(1_000) for fault in make_plan(seed).faults} == KINDS.keys()
    assert INJECTORS.keys() == KINDS.keys()


def test_chosen_kinds_are_the_only_ones() -> None:
    assert {fault.kind for fault in make_plan(3, kinds=("kill", "pause")).faults} == {"kill", "pause"}


@pytest.mark.parametrize("needed", [{7}, {0, 19}, {3, 4, 11}])
def test_shrinking_keeps_only_the_faults_that_are_needed_together(needed: set[int]) -> None:
    plan = Plan(1, 30.0, LifeSettings(), tuple(Fault(float(number), "kill") for number in range(20)))
    wanted = {float(number) for number in needed}
    smallest = shrink(plan, lambda smaller: wanted <= {fault.at for fault in smaller.faults})
    assert {fault.at for fault in smallest.faults} == wanted


def test_a_campaign_resumes_after_the_seeds_that_its_commit_has_lived(tmp_path: Path) -> None:
    plan = make_plan(5, 30.0)
    kinds = [{"kind": "kill", "effect": {}}, {"kind": "kill", "effect": None}, {"kind": "store", "effect": {}}]
    (tmp_path / "facts.json").write_text(json.dumps({"events": kinds, "starts": {"recorder": 3}}))
    one = results.result_of(plan, tmp_path, [Violation("no_traceback", "recorder.log has one")], "abc")
    file = tmp_path / "lives.jsonl"
    file.write_text(json.dumps(one) + "\n")
    lived = results.read(file)
    assert results.done_seeds(lived, "abc", 30.0) == {5}
    assert results.done_seeds(lived, "def", 30.0) == results.done_seeds(lived, "abc", 45.0) == set()
    assert one["faults"] == {"kill": [1, 1], "store": [1, 0]}
    assert "1 lives, 2 faults, 3 process starts, 1 lives with violations: seeds 5" in results.summary(lived)


def test_the_judge_imports_nothing_of_the_product() -> None:
    probe = "import sys, tests.campaigns.node.judging.judge; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.split()
    assert not {"edge", "query_service", "commands", "imhearing"} & set(loaded)
