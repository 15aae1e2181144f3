"""A real recorder, query service and broker: what `sounds` answers at once when a sound has ended."""

from __future__ import annotations

import json
from pathlib import Path

from edge.core import wire
from edge.core.instant import LAST, Instant
from edge.messaging.events import SoundHeard
from query_service import api
from query_service.queries.sounds import Sound, SoundsAnswer
from tests.support.messaging.broker import BrokerAddress
from tests.support.messaging.mqtt import Client, opened
from tests.support.nodes.all_doors import QUERY_TOPIC
from tests.support.nodes.sounding_node import SOUNDING, sounding_node, sounding_settings
from tests.support.recording.recorder_process import running_recorder
from tests.support.wait import wait_until

SOUND = "imhearing/porch/recorder/sound"
_UNWRITTEN = 100_000  # µs: a kill loses up to 4,095 frames, which the encoder still held
_DRIFT = 1_000  # µs by which a manifest may correct the end of a sound, as it knows the sample rate better


def ended(client: Client, number: int) -> SoundHeard:
    """The sound that was the `number`th to end."""

    def found() -> list[SoundHeard]:
        sounds = [wire.decode(each.payload, SoundHeard) for each in client.messages_on(SOUND)]
        return [sound for sound in sounds if sound.event == "ended"][number:]

    return wait_until(found, "a sound has ended")[0]


def answered(client: Client, sound: SoundHeard) -> Sound:
    """As an automation asks: for the sounds between the event's times."""
    request = {"id": sound.sound_id, "type": "sounds", "from": str(sound.started_at), "to": str(sound.ended_at)}
    topic = f"imhearing/porch/response/query/{sound.sound_id}"
    client.publish(QUERY_TOPIC, json.dumps(request), response_topic=topic)
    answer = opened(client.wait_for_message(topic).payload)
    assert isinstance(answer, SoundsAnswer), answer
    [found] = [each for each in answer.sounds if each.sound_id == sound.sound_id]
    return found


def test_a_sound_that_has_just_ended_is_answered_with_its_end_while_its_chunk_is_still_being_written(
    broker: BrokerAddress, tmp_path: Path
) -> None:
    with sounding_node(broker, tmp_path, 600) as client:
        for number in range(2):
            sound = ended(client, number)
            found = answered(client, sound)
            assert (found.from_, found.to) == (sound.started_at, sound.ended_at)
            assert (found.lafmax, found.laeq, found.unit) == (sound.lafmax, sound.laeq, sound.unit)
            assert (found.state, found.where) == ("recording", None)


def test_a_sound_that_began_in_an_earlier_chunk_is_answered_with_its_end(broker: BrokerAddress, tmp_path: Path) -> None:
    with sounding_node(
        broker, tmp_path, 1
    ) as client:  # a second: its hold of two alone takes a sound into another chunk
        for number in range(2):
            sound = ended(client, number)
            found = answered(client, sound)
            assert found.state == "pending"
            assert found.to is not None
            assert sound.ended_at is not None
            assert abs(found.to - sound.ended_at) < _DRIFT


def test_the_end_of_a_sound_survives_the_death_of_the_recorder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    settings = sounding_settings(data)

    def sounds() -> list[Sound]:
        answer = api.query(settings, "local", type="sounds", order="time", start=Instant(0), end=LAST)
        assert isinstance(answer, SoundsAnswer)
        return list(answer.sounds)

    with running_recorder(data, *SOUNDING, "recorder.record_period=600") as recorder:
        recorder.wait_until_recording()
        before = wait_until(sounds, "a sound has ended")[0]
        recorder.kill()
    assert sounds()[0] == before
    assert before.state == "recording"
    with running_recorder(data, *SOUNDING, "recorder.record_period=600") as recorder:
        recorder.wait_until_recording()
        after = sounds()[0]
        assert (after.sound_id, after.state) == (before.sound_id, "pending")
        assert after.to is not None
        assert before.to is not None
        assert before.to - _UNWRITTEN < after.to < before.to + _DRIFT
        assert recorder.spool.ended_sounds.read() == () or sounds()[-1].state == "recording"
