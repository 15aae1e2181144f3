"""Fetching from a real S3 server and a real spool: every sample in its place, and not a byte too many."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from msgspec.structs import replace

from commands import fetch as command
from commands.cli.parser import build_parser
from edge.configuration.loader import to_ini
from edge.configuration.settings import Query, Settings
from edge.core.errors import FetchError, ImHearingError, QueryRefused
from edge.core.instant import Instant
from query_service import api
from query_service.answer.node_answers import NodeAnswers, Presigner
from query_service.queries.coverage import CoverageAnswer
from query_service.queries.values import Gap, Pending, Recorded
from tests.support.messaging.secure_broker import set_up
from tests.support.nodes.query_node import QueryNode
from tests.support.spool.chunks import RATE, SECOND, STREAM, at, audio_bytes, make_chunk, put_chunk
from tests.support.store.counting_relay import counting_relay
from tests.support.store.fault_proxy import running_proxy
from tests.support.store.s3 import RunningStore
from tests.support.wait import DEADLINE, wait_until

ROOT = Path(__file__).parents[3]


def samples(node: QueryNode) -> np.ndarray:
    """Everything that was recorded, shape (frames,)."""
    parts = [soundfile.read(io.BytesIO(node.audio[name]), dtype="int16")[0] for name in sorted(node.audio)]
    return np.concatenate(parts)


@pytest.mark.parametrize("ending", ["wav", "flac"])
@pytest.mark.parametrize(("start", "end"), [(0, 10), (1.5, 8.25), (2.123456, 2.123999), (3.999_999, 4.000_126)])
def test_fetched_sound_is_cut_exactly_to_the_sample(
    node: QueryNode, settings: Settings, tmp_path: Path, start: float, end: float, ending: str
) -> None:
    target = tmp_path / f"heard.{ending}"
    report = api.fetch(settings, "local", at(start), at(end), target)
    heard, rate = soundfile.read(target, dtype="int16")
    first, last = (-(-round(edge * SECOND) * RATE // SECOND) for edge in (start, end))
    np.testing.assert_array_equal(heard, samples(node)[first:last])
    assert (rate, report.rate, report.frames, report.holes) == (RATE, RATE, last - first, ())


def test_fetch_reads_only_the_chunks_it_needs(node: QueryNode, settings: Settings, tmp_path: Path) -> None:
    report = api.fetch(settings, "local", at(1.5), at(2.5), tmp_path / "heard.wav")
    names = sorted(node.audio)
    assert report.bytes_read == len(node.audio[names[1]]) + len(node.audio[names[2]])
    assert report.chunks == 2


def test_gaps_are_filled_with_silence_skipped_or_refused(node: QueryNode, settings: Settings, tmp_path: Path) -> None:
    everything = samples(node)
    silent = api.fetch(settings, "local", at(-2), at(1), tmp_path / "silent.wav")
    heard, _ = soundfile.read(tmp_path / "silent.wav", dtype="int16")
    np.testing.assert_array_equal(heard, np.concatenate([np.zeros(2 * RATE, np.int16), everything[:RATE]]))
    assert [(type(hole), hole.from_, hole.to) for hole in silent.holes] == [(Gap, at(-2), at(0))]

    api.fetch(settings, "local", at(-2), at(1), tmp_path / "short.wav", gaps="skip")
    heard, _ = soundfile.read(tmp_path / "short.wav", dtype="int16")
    np.testing.assert_array_equal(heard, everything[:RATE])

    with pytest.raises(FetchError, match="gap, unknown"):
        api.fetch(settings, "local", at(-2), at(1), tmp_path / "none.wav", gaps="refuse")
    assert not (tmp_path / "none.wav").exists()
    api.fetch(settings, "local", at(0), at(10), tmp_path / "whole.wav", gaps="refuse")


@pytest.mark.parametrize(
    ("ending", "problem"),
    [("wav", "no room on the disk"), ("flac", "2386 hours at 8000 Hz"), ("opus", "480000 hours of silence")],
)
def test_silence_that_cannot_be_written_says_how_to_do_without(
    settings: Settings, tmp_path: Path, ending: str, problem: str
) -> None:
    with pytest.raises(FetchError, match=rf"^[^/]*{problem}.*shorter range, or skip gaps .*--gaps skip"):
        api.fetch(settings, "local", at(-20_000 * 86_400), at(1), tmp_path / f"heard.{ending}")
    assert not list(tmp_path.glob("heard.*"))


def test_sound_after_a_gap_keeps_its_time(settings: Settings, node: QueryNode, tmp_path: Path) -> None:
    other = "20260303T220020Z-bbbb"
    data = audio_bytes(77)
    put_chunk(node.spool, make_chunk(0, data, stream_id=other, start=at(12.345678)), data)
    api.fetch(settings, "local", at(9), at(20), tmp_path / "heard.wav")
    heard, _ = soundfile.read(tmp_path / "heard.wav", dtype="int16")
    place = -(-3_345_678 * RATE // SECOND)
    expected = np.zeros(11 * RATE, np.int16)
    expected[:RATE] = samples(node)[-RATE:]
    expected[place : place + RATE] = soundfile.read(io.BytesIO(data), dtype="int16")[0]
    np.testing.assert_array_equal(heard, expected)


def test_silence_in_a_gap_compensates_for_a_drifting_sound_card(
    settings: Settings, node: QueryNode, tmp_path: Path
) -> None:
    for stream, start in (("20260303T220020Z-bbbb", at(20)), ("20260303T220025Z-cccc", at(25))):
        data = audio_bytes(77)
        chunk = make_chunk(0, data, stream_id=stream, start=start)
        put_chunk(node.spool, replace(chunk, ended_at=Instant(start + 1_010_000)), data)  # 8,000 frames in 1.01 s
    report = api.fetch(settings, "local", at(20), at(27), tmp_path / "heard.wav")
    heard, _ = soundfile.read(tmp_path / "heard.wav", dtype="int16")
    assert report.frames == len(heard) == 7 * RATE
    expected = np.zeros(7 * RATE, np.int16)
    expected[:RATE] = expected[5 * RATE : 6 * RATE] = soundfile.read(io.BytesIO(data), dtype="int16")[0]
    np.testing.assert_array_equal(heard, expected)


def test_fetching_without_sound_or_target_says_why(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"there is no sound to fetch: gap, unknown$"):
        api.fetch(settings, "local", at(-20), at(-10), tmp_path / "heard.wav")
    with pytest.raises(FetchError, match=r"\.wav, \.flac or \.opus"):
        api.fetch(settings, "local", at(0), at(1), tmp_path / "heard.mp3")
    with pytest.raises(FetchError, match="no such folder"):
        api.fetch(settings, "local", at(0), at(1), tmp_path / "nowhere" / "heard.wav")
    with pytest.raises(QueryRefused, match="from must be before to"):
        api.fetch(settings, "local", at(1), at(0), tmp_path / "heard.wav")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "heard"))] == []


def test_sound_still_being_recorded_is_reported_as_not_yet_available(
    settings: Settings, node: QueryNode, tmp_path: Path
) -> None:
    (node.spool.path / "state.json").touch()  # the recorder lives
    recording = pytest.raises(
        FetchError, match="no sound to fetch: recording, and to be had once its chunk is finished"
    )
    with node.spool.recorder_lock.hold(), recording:
        api.fetch(settings, "local", at(20), at(21), tmp_path / "heard.wav")


def test_a_format_change_within_the_range_is_reported(settings: Settings, node: QueryNode, tmp_path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros((RATE, 2), np.int16), RATE, format="FLAC")
    stereo = make_chunk(0, file.getvalue(), stream_id="20260303T220020Z-bbbb", start=at(10))
    put_chunk(node.spool, replace(stereo, channels=2), file.getvalue())
    with pytest.raises(FetchError, match="from here on sound is 8000 Hz, 2 channel"):
        api.fetch(settings, "local", at(9), at(11), tmp_path / "heard.wav")
    assert not (tmp_path / "heard.wav").exists()


def test_damaged_bytes_from_the_store_are_rejected(
    settings: Settings, node: QueryNode, store: RunningStore, tmp_path: Path
) -> None:
    answer = api.query(settings, "local", start=at(0), end=at(1), urls=True)
    assert isinstance(answer, CoverageAnswer)
    (interval,) = answer.intervals
    assert isinstance(interval, Recorded)
    stored = store.folder / answer.archives[interval.where.archive].key
    data = bytearray(stored.read_bytes())
    data[interval.where.offset + 100] ^= 1
    stored.write_bytes(data)
    with pytest.raises(FetchError, match="SHA-256"):
        api.fetch(settings, "local", at(0), at(1), tmp_path / "heard.wav")
    assert not (tmp_path / "heard.wav").exists()


def test_an_expired_link_is_requested_again(
    settings: Settings, node: QueryNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = Presigner.__call__, []

    def sometimes_stale(self: Presigner, archive: object) -> str | None:
        url = real(self, archive)  # type: ignore[arg-type]
        made.append(url)
        return f"{url}x" if len(made) == 1 and url else url  # its signature is wrong now

    monkeypatch.setattr(Presigner, "__call__", sometimes_stale)
    api.fetch(settings, "local", at(0), at(1), tmp_path / "heard.wav")
    heard, _ = soundfile.read(tmp_path / "heard.wav", dtype="int16")
    np.testing.assert_array_equal(heard, samples(node)[:RATE])
    assert len(made) == 2


def test_presigned_links_expire_after_the_configured_time(settings: Settings) -> None:
    brief = replace(settings, query=Query(url_seconds=77))
    answer = api.query(brief, "local", start=at(0), end=at(1), urls=True)
    assert isinstance(answer, CoverageAnswer)
    (place,) = answer.archives.values()
    assert place.url is not None
    assert "X-Amz-Expires=77" in place.url
    assert place.s3 == f"s3://{place.bucket}/{place.key}"


def test_fetch_progress_increases_and_ends_at_the_total(settings: Settings, tmp_path: Path) -> None:
    seen: list[api.FetchProgress] = []
    api.fetch(settings, "local", at(0), at(10), tmp_path / "heard.wav", on_progress=seen.append)
    assert [p.done_us for p in seen] == sorted(p.done_us for p in seen)
    assert seen[-1].done_us == seen[-1].total_us == 10 * SECOND


def test_24_bit_sound_is_fetched_unchanged(settings: Settings, node: QueryNode, tmp_path: Path) -> None:
    wide = np.random.default_rng(5).integers(-(2**23), 2**23, RATE).astype(np.int32) << 8
    file = io.BytesIO()
    soundfile.write(file, wide, RATE, format="FLAC", subtype="PCM_24")
    chunk = make_chunk(0, file.getvalue(), stream_id="20260303T230000Z-bbbb", start=at(3600))
    put_chunk(node.spool, chunk, file.getvalue())
    api.fetch(settings, "local", at(3600.25), at(3600.75), tmp_path / "heard.wav")
    heard, _ = soundfile.read(tmp_path / "heard.wav", dtype="int32")
    np.testing.assert_array_equal(heard, wide[RATE // 4 : RATE * 3 // 4])
    assert soundfile.info(tmp_path / "heard.wav").subtype == "PCM_24"


def test_chunks_not_archived_yet_are_pending(settings: Settings, node: QueryNode) -> None:
    answer = api.query(settings, "local", start=at(7), end=at(10))
    assert isinstance(answer, CoverageAnswer)
    assert [type(interval) for interval in answer.intervals] == [Pending] * 3
    assert {interval.chunk_id for interval in answer.intervals if isinstance(interval, Pending)} == {
        f"{STREAM}-{seq:06d}" for seq in (7, 8, 9)
    }


def test_fetching_ten_seconds_of_a_large_archive_downloads_little_more_than_their_chunks(
    tmp_path: Path, store: RunningStore
) -> None:
    """Counted where the store's bytes enter this machine's sockets, headers and all."""
    made = QueryNode(tmp_path, chunks=0)
    names = []
    for seq in range(64):
        data = audio_bytes(seq, 60 * RATE)
        chunk = make_chunk(seq, data, seconds=60)
        put_chunk(made.spool, chunk, data)
        names.append(chunk.chunk_id)
    sizes = [made.spool.chunks.manifest(name).bytes for name in names]
    key = made.archive(store.settings, names)
    assert (store.folder / key).stat().st_size > 50_000_000
    with counting_relay(store.settings.endpoint_url) as relay:
        settings = made.with_doors(s3=replace(store.settings, endpoint_url=relay.url))
        for start, touched in ((60 * 30 + 20, sizes[30:31]), (60 * 40 - 5, sizes[39:41])):
            before = relay.received
            report = api.fetch(settings, "local", at(start), at(start + 10), tmp_path / "ten.wav")
            assert report.frames == 10 * RATE
            assert report.bytes_read == sum(touched)
            assert sum(touched) < relay.received - before <= 1.05 * sum(touched)


def test_opus_is_written_only_at_rates_it_supports(settings: Settings, node: QueryNode, tmp_path: Path) -> None:
    report = api.fetch(settings, "local", at(0), at(10), tmp_path / "heard.opus")
    written = soundfile.info(tmp_path / "heard.opus")
    assert (written.format, written.subtype, written.channels) == ("OGG", "OPUS", 1)
    assert report.frames == 10 * RATE
    assert written.duration == pytest.approx(10.0, abs=0.02)

    file = io.BytesIO()
    soundfile.write(file, np.zeros(44_100, np.int16), 44_100, format="FLAC")
    other = make_chunk(0, file.getvalue(), stream_id="20260303T230000Z-bbbb", start=at(3600))
    put_chunk(node.spool, replace(other, rate=44_100, frames=44_100), file.getvalue())
    with pytest.raises(FetchError, match=r"44100 Hz; Opus knows 8000, .*\.flac or \.wav"):
        api.fetch(settings, "local", at(3600), at(3601), tmp_path / "none.opus")
    assert not (tmp_path / "none.opus").exists()


def test_the_fetch_command_reports_in_json_and_names_an_unwritable_output(
    node: QueryNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fetch", "--data", str(tmp_path), "--from", str(at(7)), "--to", str(at(9)), "--set", "node.name=porch"]
    args = build_parser().parse_args([*words, "--json", "-o", str(tmp_path / "x.wav")])
    assert command.run(args) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["path"], told["frames"], told["chunks"]) == (str(tmp_path / "x.wav"), 2 * RATE, 2)
    (tmp_path / "folder.wav").mkdir()
    args.output = tmp_path / "folder.wav"
    with pytest.raises(ImHearingError, match=r"-o .*folder\.wav: cannot be written \(Is a directory\)"):
        command.run(args)


@pytest.fixture(scope="module")
def keys() -> Iterator[Path]:
    """A CA of our own, and a certificate for localhost."""
    with tempfile.TemporaryDirectory(prefix="imhearing-keys-") as name:
        set_up(Path(name), "porch")
        yield Path(name)


@pytest.mark.parametrize("way", ["-o", "--export"])
def test_one_setting_lets_fetch_trust_a_private_ca(
    node: QueryNode, store: RunningStore, keys: Path, tmp_path: Path, way: str
) -> None:
    target = tmp_path / "heard.wav" if way == "-o" else tmp_path
    with running_proxy(store.settings, keys) as (_, through):
        config = tmp_path / "config.ini"
        config.write_text(to_ini(node.with_doors(s3=through), "of a test"))
        config.chmod(0o600)
        words = ["fetch", "--data", str(tmp_path), "--from", str(at(1)), "--to", str(at(2)), way, str(target)]
        with pytest.raises(FetchError, match=r"certificate.*set \[s3\] ca_file"):
            command.run(build_parser().parse_args(words))
        with pytest.raises(FetchError, match=r"ca_file = .*none.crt: cannot be used \(No such file"):
            command.run(build_parser().parse_args([*words, "--set", "s3.ca_file=none.crt"]))
        assert command.run(build_parser().parse_args([*words, "--set", f"s3.ca_file={keys}/ca.crt"])) == 0


_HEARS_SIGNALS = ("env", "--default-signal=HUP")  # the tests may run under nohup


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_fetch_ended_by_a_signal_leaves_nothing_behind(
    node: QueryNode, store: RunningStore, tmp_path: Path, number: signal.Signals
) -> None:
    """As when the terminal is closed or the connection to it is lost."""
    home = tmp_path / "home"
    home.mkdir()
    with running_proxy(store.settings) as (proxy, through):
        proxy.fail_always("stall")
        config = tmp_path / "config.ini"
        config.write_text(to_ini(node.with_doors(s3=through), "of a test"))
        config.chmod(0o600)
        words = ["--data", str(tmp_path), "--from", str(at(1)), "--to", str(at(2)), "-o", str(home / "heard.wav")]
        with subprocess.Popen([*_HEARS_SIGNALS, sys.executable, "imhearing.py", "fetch", *words], cwd=ROOT) as process:
            try:
                wait_until(lambda: bool(proxy.seen) and any(home.iterdir()), "the download begins")
                process.send_signal(number)
                assert process.wait(DEADLINE) == 130
            finally:
                process.kill()
    assert not list(home.iterdir())


def test_sound_that_is_on_the_node_only_says_how_to_get_it(
    node: QueryNode, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NodeAnswers, "local_file", lambda _self, _chunk_id: None)  # as through any other door
    with pytest.raises(FetchError, match="pending, still on the node only, where `imhearing archive` uploads it"):
        api.fetch(settings, "local", at(7), at(9), tmp_path / "heard.wav")
