"""The microphone: does it record, and is the input level sane?"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from commands.cli.logs import escaped
from commands.doctor.node_under_test import Finding, NodeUnderTest, fault, ok, warning
from edge.configuration.loader import expand_user
from edge.configuration.settings import Recorder
from edge.core.errors import DeviceError, FileUnencodable, SpoolError
from edge.core.values import Chunk
from edge.recorder.capture.excerpt import Excerpt, record_excerpt
from edge.recorder.capture.gain import read_gain, set_command
from edge.recorder.capture.microphone import choose_device, list_devices
from edge.recorder.capture.sources import choose_source
from edge.spool.spool import Spool, spool_of
from query_service.answer.spool_view import SpoolWatcher

_SECONDS = 0.5  # of sound to judge
_QUIET_DBFS = -75.0  # peak; the self-noise of any working microphone is louder
_FLOOR_DBFS = -119.0  # the level meter's reading for digital silence
_CLIPPED = 1 - 2**-15  # of full scale
_CLIPPING_SHARE = 1e-3  # of the samples; fewer are a single bang
_CARD = re.compile(r"\(hw:(\d+),\d+\)")


def check_device(node: NodeUnderTest) -> Iterator[Finding]:
    """Opens the recorder's source. If the recorder is running and holds the sound card, checks what it gets."""
    try:
        source = choose_source(node.settings.recorder)
        heard = record_excerpt(source, _SECONDS)
    except DeviceError as problem:
        remedy = node.configure(*problem.changes) if isinstance(problem, FileUnencodable) else _remedy(node)
        yield from findings_while_recording(node) or [fault("device.records", escaped(str(problem)), remedy)]
        return
    yield ok("device.records", _describe(heard))
    if type(source).__name__ == "SyntheticSource":
        yield check_source(node)
    elif type(source).__name__ == "Microphone":
        yield from check_gain(heard.form.device)
        yield check_level(heard.form.device, peak_dbfs(heard))
        yield check_clipping(heard)


def _remedy(node: NodeUnderTest) -> str:
    """Adapts the first setting that does not match the hardware."""
    recorder = node.settings.recorder
    if not uses_microphone(recorder):
        exists = expand_user(Path(recorder.source)).exists()
        return f"file {shlex.quote(recorder.source)}" if exists else node.configure("recorder.source=auto")
    try:
        devices = list_devices()
    except DeviceError:
        devices = []
    if not devices:
        return _plug_in(node)
    try:
        device = choose_device(devices, recorder.device)
    except DeviceError:
        device = choose_device(devices, "")
        return node.configure(f"recorder.device={device.name}")
    if recorder.channels > device.channels:
        return node.configure(f"recorder.channels={device.channels}")
    if recorder.sample_rate != device.rate:
        return node.configure(f"recorder.sample_rate={device.rate}")
    return "fuser -v /dev/snd/*  # stop the program using it, or replug the microphone"


def _plug_in(node: NodeUnderTest) -> str:
    return f"arecord -l  # plug in the microphone; if it is never listed: sudo usermod -aG audio {node.user}"


def check_source(node: NodeUnderTest) -> Finding:
    if node.settings.recorder.source == "synthetic":
        return ok("device.source", "a synthetic scene, as configured")
    return warning("device.source", "no microphone: recording a synthetic scene", _plug_in(node))


def check_level(device: str, peak: float) -> Finding:
    check, message = "device.level", f"peak {peak:.0f} dBFS"
    if peak == -np.inf or peak <= _FLOOR_DBFS:
        return fault(check, "digital silence: the input is muted or not connected", _mixer(device, "80% cap"))
    if peak < _QUIET_DBFS:
        return warning(check, f"{message}: close to silence", _mixer(device, "80% cap"))
    return ok(check, message)


def check_gain(device: str) -> Iterator[Finding]:
    """The input gain; nothing if the card has no gain control that can be read."""
    gain = read_gain(device)
    if gain is None:
        return
    check, message = "device.gain", escaped(f"{gain.control}: {gain}")
    if gain.percent and gain.on:
        yield ok(check, message)
    elif gain.percent:
        yield fault(check, message, set_command(device, gain, "cap"))
    else:
        # a card that only amplifies still records at its lowest gain
        unity = gain.on and gain.decibels is not None and gain.decibels >= 0
        yield (warning if unity else fault)(check, message, set_command(device, gain, "80%", "cap"))


def check_clipping(heard: Excerpt) -> Finding:
    check = "device.clipping"
    clipped = np.abs(heard.samples.astype(np.float64)) >= heard.full_scale * _CLIPPED
    share = float(np.mean(clipped))
    message = f"{share:.1%} of the samples are at full scale"
    if share >= _CLIPPING_SHARE:
        return fault(check, f"{message}: the gain is too high", _mixer(heard.form.device, "50%"))
    return warning(check, message, _mixer(heard.form.device, "50%")) if share else ok(check, "no clipping")


def findings_while_recording(node: NodeUnderTest) -> list[Finding]:
    """What the running recorder gets from the device; nothing if no recorder is running."""
    spool = spool_of(node.settings)
    try:
        view = SpoolWatcher(spool).view()
        state, alive = view.state, view.is_alive(node.kernel.now())
        if state is None or state.state != "recording" or state.stream_id is None or not alive:
            return []
        device = spool.streams.read(state.stream_id).device
        last = _last_chunk(spool, state.stream_id)
    except SpoolError:
        return []
    found = [ok("device.records", f"in use by the recorder: stream {state.stream_id} from {escaped(device)}")]
    if uses_microphone(node.settings.recorder):
        found.extend(check_gain(device))
    if last is not None and last.levels is not None and not last.levels.calibrated:
        found.append(check_level(device, last.levels.lcpeak))
    return found


def _last_chunk(spool: Spool, stream_id: str) -> Chunk | None:
    chunks = sorted(name for name in spool.chunks.finished() if name.startswith(stream_id))
    return spool.chunks.manifest(chunks[-1]) if chunks else None


def peak_dbfs(heard: Excerpt) -> float:
    """The peak relative to full scale; -inf for digital silence."""
    peak = float(np.abs(heard.samples.astype(np.float64)).max(initial=0.0))
    return 20 * float(np.log10(peak / heard.full_scale)) if peak else -np.inf


def _mixer(device: str, setting: str) -> str:
    """The command to set ALSA's mixer if the device is a card, else the sound server's."""
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


def uses_microphone(recorder: Recorder) -> bool:
    return recorder.source in ("auto", "microphone")
