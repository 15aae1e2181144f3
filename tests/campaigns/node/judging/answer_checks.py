"""Checks of what the node answers in the end: through each door, after verify and rebuild, and of what it forgot."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.campaigns.node.judging.facts import Facts, seconds_of

# the command line leaves out what only matters to a client that pages
_COMPARED = ("intervals", "overlapped", "sounds", "levels", "node", "from", "to")
_LOST_WITH_THE_CATALOG = ("quiet", "dropped", "lifecycle")  # a rebuilt catalog answers a gap
_EDGE = 0.02  # seconds: seconds of sound and of the clock may be that much apart at the end of a chunk
_CLOCK = 0.3  # seconds: whether a chunk at the edge of a range overlaps it, is the node's to decide


def it_comes_to_rest(facts: Facts) -> Iterator[str]:
    """Once nothing disturbs it, everything gets done, and each service ends when it should."""
    yield from facts.life["problems"]
    for name, code in facts.life["exit_codes"].items():
        if code != 0:
            yield f"the {name} ended with {code}"


def doors_agree(facts: Facts) -> Iterator[str]:
    for kind, answers in facts.life["answers"].items():
        local = _comparable(answers["local"])
        for door, answer in answers.items():
            if not isinstance(answer, dict):
                yield f"{kind} via {door}: {answer}"
            elif _comparable(answer) != local:
                yield f"{kind} via {door} differs from local: {_first_difference(local, _comparable(answer))}"


def levels_tile(facts: Facts) -> Iterator[str]:
    """Each whole second of sound that is kept has a level."""
    answer = facts.life["answers"]["levels"]["local"]
    if not isinstance(answer, dict):
        return
    start = seconds_of(answer["from"])
    there = {round(seconds_of(step["from"]) - start) for step in answer["levels"]}
    for interval in facts.intervals:
        if interval["state"] not in ("recorded", "pending") or interval["laeq"] is None:
            continue
        # a chunk's seconds count from its start; a step has the one that begins in it, unless that is too close
        begin, end = seconds_of(interval["from"]) - start, seconds_of(interval["to"]) - start
        if not _EDGE < (begin % 1) < 1 - _EDGE or interval["cut"]["first"]:
            continue
        for step in range(math.ceil(begin), math.floor(end)):
            is_whole = begin + math.ceil(step - begin) + 1 <= end + _EDGE  # the second that begins in the step
            if is_whole and step not in there:
                yield f"{interval['chunk_id']} has no level {step - begin:.2f} s after its start"


def verify_is_clean(facts: Facts) -> Iterator[str]:
    if facts.life["verify"]["code"] != 0:
        yield f"catalog verify --deep: {facts.life['verify']['output'][:1000]}"


def rebuild_answers_the_same(facts: Facts) -> Iterator[str]:
    rebuild, rebuilt = facts.life["rebuild"], facts.life["rebuilt"]
    if rebuild["code"] != 0:
        yield f"catalog rebuild: {rebuild['output'][:1000]}"
    if not isinstance(rebuilt, dict):
        yield f"there is no answer after the rebuild: {rebuilt}"
        return
    before = _intervals(facts.life["answers"]["coverage"]["local"], facts)
    after = _intervals(rebuilt["coverage"], facts)
    if before != after:
        yield f"the rebuilt catalog answers otherwise: {_first_difference(before, after)}"
    for kind in ("sounds", "levels"):
        before = _of_kept_sound(facts.life["answers"][kind]["local"], kind, facts)
        after = _of_kept_sound(rebuilt[kind], kind, facts)
        if before != after:
            yield f"the rebuilt catalog has other {kind}: {_first_difference(before, after)}"


def forgotten_is_nowhere(facts: Facts) -> Iterator[str]:
    """As samples, files, answers, levels or sounds; in any file of the node or the store."""
    for event in facts.events("forget"):
        order = event["effect"]
        start, end = seconds_of(order["from"]), seconds_of(order["to"])
        result = facts.folder / "left" / "orders" / f"result-{order['order']}.json"
        state = json.loads(result.read_bytes())["state"] if result.exists() else "lost"
        if state == "lost":
            yield f"the order to forget {order['from']} to {order['to']} has no result"
        if state != "done":
            continue
        for interval in facts.intervals:
            if interval["state"] in ("recorded", "pending", "recording") and _overlap(interval, start, end) > 0:
                yield f"{interval.get('chunk_id')} is answered as {interval['state']} and was forgotten"
        for chunk_id, place in facts.places.items():
            if place and facts.utc(place.start) < end - _CLOCK and facts.utc(place.end) > start + _CLOCK:
                yield f"the sound of {chunk_id} was forgotten, and is still in the spool or the store"
        for kind in ("sounds", "levels"):
            yield from _still_described(facts, kind, start, end)
        yield from _still_found(facts, order)


def held_is_kept(facts: Facts) -> Iterator[str]:
    """What was there when a hold began that was never released is there in the end."""
    there = {i["chunk_id"] for i in facts.intervals if i["state"] in ("recorded", "pending")}
    for event in facts.events("hold"):
        if any(_releases(other["effect"], event["effect"]) for other in facts.events("hold")):
            continue
        for chunk_id in sorted(set(event["effect"]["kept"]) - there):
            yield f"{chunk_id} was held, and is gone"


def _releases(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Releasing a range ends that part of every hold."""
    return bool(one["released"] and one["from"] < other["to"] and one["to"] > other["from"])


def _still_described(facts: Facts, kind: str, start: float, end: float) -> Iterator[str]:
    answer = facts.life["answers"][kind]["local"]
    if not isinstance(answer, dict):
        return
    for found in answer[kind]:
        begins, ends = seconds_of(found["from"]), seconds_of(found["to"] or found["from"])
        if start <= begins and ends <= end:
            yield f"{kind} at {found['from']} were forgotten, and are still answered"


def _still_found(facts: Facts, order: dict[str, Any]) -> Iterator[str]:
    slices = [(chunk["chunk_id"], bytes.fromhex(part)) for chunk in order["chunks"] for part in chunk["slices"]]
    if not slices:
        return
    for folder in ("left", "left_tmpfs", "store"):
        for path in (facts.folder / folder).rglob("*"):
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                for chunk_id in sorted({chunk_id for chunk_id, part in slices if part in data}):
                    yield f"bytes of {chunk_id}, which was forgotten, are in {folder}/{path.name}"


def _overlap(interval: dict[str, Any], start: float, end: float) -> float:
    return min(seconds_of(interval["to"]), end) - max(seconds_of(interval["from"]), start)


def _comparable(answer: Any) -> Any:
    return {k: answer.get(k) for k in _COMPARED} if isinstance(answer, dict) else answer


def _intervals(answer: Any, facts: Facts) -> list[Any]:
    """What a rebuilt catalog knows too.

    Of a chunk with several copies it may name another one, and one in the spool waits again. What was erased before any
    archive listed it is a gap from then on.
    """
    if not isinstance(answer, dict):
        return []
    waits_again = {copy.chunk_id for copy in facts.copies if not copy.archive}
    archived = Counter(copy.chunk_id for copy in facts.copies if copy.archive)
    found = []
    for interval in answer["intervals"]:
        chunk_id, state = interval.get("chunk_id"), interval["state"]
        if state in ("recorded", "pending") and chunk_id in waits_again:
            found.append({key: interval[key] for key in ("chunk_id", "from", "to")})
        elif state == "recorded":
            where = {key: interval["where"][key] for key in ("member", "length", "sha256")}
            found.append(interval | {"where": where} if archived[chunk_id] > 1 else interval)
        elif interval.get("cause") == "erased" and chunk_id in facts.listed:
            found.append({key: value for key, value in interval.items() if key != "where"})
    return found


def _of_kept_sound(answer: Any, kind: str, facts: Facts) -> list[Any]:
    """Sounds or levels as a rebuilt catalog knows them too: of chunks that are kept, whatever copy they are in."""
    if not isinstance(answer, dict):
        return [answer]
    kept = [i for i in facts.intervals if i["state"] in ("recorded", "pending")]
    if kind == "sounds":
        chunks, fields = {i["chunk_id"] for i in kept}, ("sound_id", "chunk_id", "from", "to", "lafmax", "laeq", "unit")
        return [{key: one[key] for key in fields} for one in answer["sounds"] if one["chunk_id"] in chunks]
    spans = [(seconds_of(i["from"]), seconds_of(i["to"])) for i in kept]
    return [
        {key: one[key] for key in ("from", "to", "laeq", "unit")}
        for one in answer["levels"]
        if any(a <= seconds_of(one["from"]) and seconds_of(one["to"]) <= b for a, b in spans)
    ]


def _first_difference(one: Any, other: Any) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            if one.get(key) != other.get(key):
                return f"{key}: {_first_difference(one.get(key), other.get(key))}"
    if isinstance(one, list) and isinstance(other, list):
        for number, (left, right) in enumerate(zip(one, other, strict=False)):
            if left != right:
                return f"[{number}] {_first_difference(left, right)}"
        return f"{len(one)} against {len(other)} entries"
    return f"{str(one)[:300]} against {str(other)[:300]}"
