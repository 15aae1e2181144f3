"""The microphone: half a second of it, and what can be told from that."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from commands.cli.logs import escaped
from commands.doctor.finding import Finding, Patient, fault, ok, warning
from edge.configuration.settings import Recorder
from edge.core.errors import DeviceError, FileUnencodable, SpoolError
from edge.core.values import Chunk
from edge.recorder.capture.excerpt import Excerpt, record_excerpt
from edge.recorder.capture.gain import read_gain, set_command
from edge.recorder.capture.microphone import choose_device, list_devices
from edge.recorder.capture.sources import choose_source
from edge.spool.spool import Spool
from query_service.answer.spool_view import SpoolWatcher

_SECONDS = 0.5
_QUIET_DBFS = -75.0  # peak: the noise of any microphone that is switched on is louder
_FLOOR_DBFS = -119.0  # what the level meter says of digital silence
_CLIPPED = 1 - 2**-15  # of full scale
_CLIPPING_SHARE = 1e-3  # of the samples; fewer are a bang
_CARD = re.compile(r"\(hw:(\d+),\d+\)")


def look(patient: Patient) -> Iterator[Finding]:
    """Opens what the recorder would. Beside a running one the sound card may be busy, which is no fault."""
    recorder = patient.settings.recorder
    try:
        source = choose_source(recorder)
        heard = record_excerpt(source, _SECONDS)
    except DeviceError as problem:
        busy = in_use(patient)
        yield from busy or [cannot_record(patient, problem)]
        return
    yield ok("device.records", _describe(heard))
    if type(source).__name__ == "SyntheticSource":
        yield is_made_up(patient)
    elif type(source).__name__ == "Microphone":
        yield from lets_sound_in(heard.form.device)
        yield is_not_silent(heard.form.device, peak_dbfs(heard))
        yield does_not_clip(heard)


def cannot_record(patient: Patient, problem: DeviceError) -> Finding:
    """Which setting does not fit what there is."""
    remedy = patient.configure(*problem.changes) if isinstance(problem, FileUnencodable) else _remedy(patient)
    return fault("device.records", escaped(str(problem)), remedy)


def _remedy(patient: Patient) -> str:
    recorder = patient.settings.recorder
    if recorder.source not in ("auto", "microphone"):
        there = Path(recorder.source).expanduser().exists()
        return f"file {shlex.quote(recorder.source)}" if there else patient.configure("recorder.source=auto")
    try:
        devices = list_devices()
    except DeviceError:
        devices = []
    if not devices:
        return _plug_in(patient)
    try:
        device = choose_device(devices, recorder.device)
    except DeviceError:
        device = choose_device(devices, "")
        return patient.configure(f"recorder.device={device.name}")
    if recorder.channels > device.channels:
        return patient.configure(f"recorder.channels={device.channels}")
    if recorder.sample_rate != device.rate:
        return patient.configure(f"recorder.sample_rate={device.rate}")
    return "fuser -v /dev/snd/*  # who holds it; end that program, or plug the microphone in again"


def _plug_in(patient: Patient) -> str:
    return (
        f"arecord -l  # plug the microphone in until it is listed; sudo usermod -aG audio {patient.user} if it never is"
    )


def is_made_up(patient: Patient) -> Finding:
    if patient.settings.recorder.source == "synthetic":
        return ok("device.source", "a synthetic scene, as it is set")
    return warning(
        "device.source",
        "there is no microphone: a synthetic scene is recorded",
        _plug_in(patient),
    )


def is_not_silent(device: str, peak: float) -> Finding:
    check, told = "device.level", f"peak {peak:.0f} dBFS"
    if peak == -np.inf or peak <= _FLOOR_DBFS:
        return fault(check, "nothing but digital silence: it is muted or not connected", _mixer(device, "80% cap"))
    if peak < _QUIET_DBFS:
        return warning(check, f"{told}: hardly more than silence", _mixer(device, "80% cap"))
    return ok(check, told)


def lets_sound_in(device: str) -> Iterator[Finding]:
    """The input gain; nothing where the card has no control of it, or none that can be read."""
    gain = read_gain(device)
    if gain is None:
        return
    check, told = "device.gain", escaped(f"{gain.control}: {gain}")
    if gain.percent and gain.on:
        yield ok(check, told)
    elif gain.percent:
        yield fault(check, told, set_command(device, gain, "cap"))
    else:
        # a card that only amplifies still hears at its lowest
        unity = gain.on and gain.decibels is not None and gain.decibels >= 0
        yield (warning if unity else fault)(check, told, set_command(device, gain, "80%", "cap"))


def does_not_clip(heard: Excerpt) -> Finding:
    check = "device.clipping"
    clipped = np.abs(heard.samples.astype(np.float64)) >= heard.full_scale * _CLIPPED
    share = float(np.mean(clipped))
    told = f"{share:.1%} of the samples are at full scale"
    if share >= _CLIPPING_SHARE:
        return fault(check, f"{told}: the gain is too high", _mixer(heard.form.device, "50%"))
    return warning(check, told, _mixer(heard.form.device, "50%")) if share else ok(check, "no sample at full scale")


def in_use(patient: Patient) -> list[Finding]:
    """What the running recorder gets from the device, where it has it; nothing where none records."""
    spool = Spool(patient.settings.recorder.record_path, patient.settings.node.name)
    try:
        view = SpoolWatcher(spool).look()
        state, alive = view.state, view.is_alive(patient.kernel.now())
        if state is None or state.state != "recording" or state.stream_id is None or not alive:
            return []
        device = spool.streams.read(state.stream_id).device
        last = _last_chunk(spool, state.stream_id)
    except SpoolError:
        return []
    found = [ok("device.records", f"the recorder has it and records {state.stream_id} from {escaped(device)}")]
    if wanted(patient.settings.recorder):
        found.extend(lets_sound_in(device))
    if last is not None and last.levels is not None and not last.levels.calibrated:
        found.append(is_not_silent(device, last.levels.lcpeak))
    return found


def _last_chunk(spool: Spool, stream_id: str) -> Chunk | None:
    chunks = sorted(name for name in spool.chunks.finished() if name.startswith(stream_id))
    return spool.chunks.manifest(chunks[-1]) if chunks else None


def peak_dbfs(heard: Excerpt) -> float:
    """The greatest magnitude, re full scale; -inf for digital silence."""
    peak = float(np.abs(heard.samples.astype(np.float64)).max(initial=0.0))
    return 20 * float(np.log10(peak / heard.full_scale)) if peak else -np.inf


def _mixer(device: str, setting: str) -> str:
    """ALSA's own mixer where the device is a card, else the sound server's."""
    match = _CARD.search(device)
    if match is None and shutil.which("pactl"):
        volume = "50%" if setting.startswith("50") else "100%"
        return (
            f"pactl set-source-volume ${{PULSE_SOURCE:-@DEFAULT_SOURCE@}} {volume};"
            " pactl set-source-mute ${PULSE_SOURCE:-@DEFAULT_SOURCE@} 0"
        )
    card = f"-c {match[1]} " if match else ""
    return f"amixer {card}sset Capture {setting}"


def _describe(heard: Excerpt) -> str:
    form = heard.form
    channels = "mono" if form.channels == 1 else f"{form.channels} channels"
    return f"{escaped(form.device)}: {form.rate} Hz, {channels}, {form.bits} bits"


def wanted(recorder: Recorder) -> bool:
    """Whether a sound card is meant at all."""
    return recorder.source in ("auto", "microphone")
