"""What lies on the disk: state files, settings and sound."""

from __future__ import annotations

import atexit
import functools
import io
import logging
import shutil
import struct
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from edge.configuration import calibration_file
from edge.configuration.calibration_file import Calibration
from edge.configuration.loader import load, to_ini
from edge.configuration.settings import Settings, Thresholds
from edge.core import wire
from edge.core.instant import Instant
from edge.core.kernel_clock import KernelClock
from edge.core.values import EndedSound, Hole, OpenHole, PauseOrder, SpoolState, Stream
from edge.recorder.capture.blocks import Block, SourceFormat
from edge.recorder.capture.sound_file import SoundFile, Undecodable
from edge.recorder.durable.chunk_writer import read_valid_prefix
from edge.recorder.durable.held_blocks import HeldBlocks, HeldForm, HeldSound, StreamAt
from edge.recorder.durable.repair import repair
from edge.spool import limits, thresholds
from edge.spool.home import NodeRecord, SpoolPlace
from edge.spool.spool import Spool
from query_service.sound.audio import JoinedSound
from tests.fuzz.target import Target, packed, unpacked
from tests.support.spool.chunks import BOOT, START, STREAM, audio_bytes, make_chunk, make_stream

NODE = "porch"
_CHUNK = f"{STREAM}-000000"


@functools.cache
def _folder() -> Path:
    """On tmpfs where there is one: each input is written to it."""
    shared = Path("/dev/shm")
    folder = tempfile.mkdtemp(prefix="imhearing-fuzz-", dir=shared if shared.is_dir() else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _state_file(data: bytes) -> None:
    """The name of a file of the spool, and its content; then a start of the recorder."""
    name, content, *_ = [*unpacked(data), b"", b""]
    spool = Spool(_folder() / "spool", NODE)
    shutil.rmtree(spool.path, ignore_errors=True)
    spool.create()
    spool.streams.write(make_stream())
    spool.layout.part_path(_CHUNK, "flac").write_bytes(_sound())
    path = spool.path / _FILES.get(name, "state.json")
    path.write_bytes(content)
    _read(name, spool, path)
    if name in (b"state", b"stream", b"chunk", b"part"):
        repair(spool, KernelClock(), None, Settings())  # start-up is recovery, whatever it finds


def _read(name: bytes, spool: Spool, path: Path) -> None:
    match name:
        case b"stream":
            spool.streams.read(STREAM)
        case b"chunk":
            spool.chunks.manifest(_CHUNK)
        case b"pause":
            spool.pause.read()
        case b"sounds":
            spool.ended_sounds.read()
        case b"settings":
            limits.active(spool.path, thresholds.configured(Thresholds()))
        case b"exceeded":
            limits.reported(spool.path)
        case b"calibration":
            calibration_file.load(spool.path)
        case b"node":
            wire.decode(path.read_bytes(), NodeRecord)
        case b"part":
            list(read_valid_prefix(path, 1, 16))
        case _:
            spool.state.read()


def _held(data: bytes) -> None:
    path = _folder() / "held"
    path.write_bytes(data)
    held = HeldSound(path)
    assert held.form.source
    for block in held.blocks():
        assert block.samples.ndim == 2


_FILES = {
    b"state": "state.json",
    b"stream": f"{STREAM}.stream.json",
    b"chunk": f"{_CHUNK}.json",
    b"pause": "pause.json",
    b"sounds": "sounds.json",
    b"settings": "settings.json",
    b"exceeded": "exceeded.json",
    b"calibration": calibration_file.NAME,
    b"node": "node.json",
    b"part": f"{_CHUNK}.flac.part",
}


def _ini(data: bytes) -> None:
    path = _folder() / "config.ini"
    path.write_bytes(data)
    path.chmod(0o600)
    settings = load(_folder(), path, environ={})
    path.write_text(to_ini(settings, "fuzz"), encoding="utf-8")
    assert load(_folder(), path, environ={}) == settings


def _wav(data: bytes) -> None:
    """As the source of a recording."""
    path = _folder() / "sound.wav"
    path.write_bytes(data)
    sound = SoundFile(path)
    try:
        for _ in range(20):
            if not len(sound.read(4_800)):
                break
    finally:
        sound.close()


def _flac(data: bytes) -> None:
    """As what a crash left, and as what a store sent."""
    path, joined = _folder() / "sound.flac", _folder() / "joined.wav"
    path.write_bytes(data)
    for frames in (len(samples) for samples in read_valid_prefix(path, 1, 16)):
        assert frames
    sound = JoinedSound(joined, "WAV", 60)
    try:
        sound.append(path, 100, 1_000, "sound.flac")
    finally:
        sound.close()


_SOUND_KINDS = (
    *("WAV PCM_16", "WAV PCM_24", "WAV FLOAT", "RF64 PCM_16", "WAVEX PCM_U8", "WAV IMA_ADPCM"),
    *("AIFF PCM_16", "CAF ALAC_16", "OGG VORBIS", "AU ULAW"),
)


def _wav_seeds() -> list[bytes]:
    samples = np.random.default_rng(1).integers(-8_000, 8_000, (400, 2), dtype=np.int16)
    seeds = []
    for form, subtype in (
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("RF64", "PCM_16"),
        ("WAVEX", "PCM_U8"),
        ("WAV", "IMA_ADPCM"),
        ("AIFF", "PCM_16"),
        ("CAF", "ALAC_16"),
        ("OGG", "VORBIS"),
        ("AU", "ULAW"),
    ):
        file = io.BytesIO()
        soundfile.write(file, samples, 8_000, format=form, subtype=subtype)
        seeds.append(file.getvalue())
    header_of_nothing = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 0, b"WAVE", b"fmt ", 16, 1, 1, 8_000, 16_000, 2, 16, b"data", 0
    )
    return [*seeds, header_of_nothing + b"\0\1" * 500]  # fmt: skip


@functools.cache
def _sound() -> bytes:
    return audio_bytes(1, 2_000)


def _held_seed() -> bytes:
    folder = _folder() / "held-seed"
    folder.mkdir(mode=0o700, exist_ok=True)
    held = HeldBlocks(lambda: folder)
    source = SourceFormat("noise", 8_000, 1, 16)
    form = HeldForm(NODE, BOOT, source.device, source.rate, source.channels, source.bits)
    held.begin(form, StreamAt(0, STREAM, 0), [Block(np.zeros((100, 1), np.int16), 1_000, False, False, 0)])
    held.close()
    return (folder / "held").read_bytes()


def _state_seeds() -> list[bytes]:
    hole = Hole("crash", Instant(START - 9), START)
    state = SpoolState(
        state="paused", since=START, boot_id=BOOT, ordinal=1, stream_id=STREAM, knot=(0, START), holes=(hole,),
        open_hole=OpenHole("paused", START), until=START, utc_offset=5, trusted=True,
    )  # fmt: skip
    sound = EndedSound(
        sound_id=f"{STREAM}-s0",
        chunk_id=_CHUNK,
        started_at=START,
        ended_at=START,
        lafmax=-20.0,
        laeq=-30.0,
        unit="dBFS",
    )
    stream: Stream = make_stream(before=(hole,), shift=3, uncertain=True, calibration_db=94.0)
    calibration = Calibration(device="noise", at=START, method="calibrator", offset_db=94.0, uncertainty_db=1.0)
    seeds: dict[bytes, object] = {
        b"state": state,
        b"stream": stream,
        b"chunk": make_chunk(0, _sound()),
        b"pause": PauseOrder(START, BOOT, 5, True),
        b"settings": thresholds.configured(Thresholds(records_count=5)),
        b"exceeded": {"records_count": [5.0, 6.0]},
        b"sounds": [sound],
        b"calibration": {"calibrations": [calibration]},
        b"node": NodeRecord(name=NODE, encrypted=True, spool=SpoolPlace("spool", "0" * 16, False), to_join=("a",)),
    }
    written = [packed(name, wire.encode(value)) for name, value in seeds.items()]
    return [*written, packed(b"part", _sound())]


def targets() -> list[Target]:
    logging.getLogger("edge").setLevel(logging.CRITICAL)  # a warning for each input is no finding
    example = (Path(__file__).parents[2] / "config_example.ini").read_bytes()
    short = b"[recorder]\nrecord_period = 5\nschedule = 05:00-08:00,\n    22:00-23:00\n[s3]\ns3_bucket_name = garden\n"
    return [
        Target("state files", _state_file, _state_seeds(), is_packed=True),
        Target("held blocks", _held, [_held_seed()]),
        Target("ini", _ini, [short, short + b"[node]\nlatitude = 52.5\nlongitude = 13.4\n", example]),
        Target("wav", _wav, _wav_seeds(), (Undecodable, OSError)),
        Target("flac", _flac, [_sound()]),
    ]
