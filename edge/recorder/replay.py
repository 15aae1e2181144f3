"""Records what an earlier life held back to judge a stall, and a crash left on tmpfs."""

from __future__ import annotations

import logging

from edge.core.errors import ConfigError, SpoolError
from edge.core.values import HoleCause
from edge.recorder.context import RecordingContext
from edge.recorder.durable.held_blocks import HeldSound, discard, found_in
from edge.recorder.durable.sealing import Seal, make_own, volatile_folder
from edge.recorder.source_recorder import SourceRecorder, StreamEnding

log = logging.getLogger(__name__)


def record_held_blocks(context: RecordingContext, cause: HoleCause | None) -> None:
    """Records the blocks into chunks of their own, if they are of this boot. `cause`: why recording broke off."""
    held = _find(context)
    if held is None:
        return
    if (held.form.node, held.form.boot_id) != (context.spool.node, context.timekeeper.boot_id):
        discard(held.path)
        return
    if held.form.recipients:
        context = context._replace(seal=Seal(held.path.parent, held.form.recipients))
    recorder = SourceRecorder(context, held.form.source)
    try:
        recorder.replay(held)
        recorder.end(StreamEnding("crash", "stopped", cause or "crash"))
    except (OSError, SpoolError) as problem:
        context.disk.fail(problem)
        recorder.abandon()


def _find(context: RecordingContext) -> HeldSound | None:
    try:
        folder = volatile_folder(context.settings.recorder, context.spool)
        if not folder.exists():
            return None
        make_own(folder)  # SpoolError where it is somebody else's: nothing of that is used
        return found_in(folder)
    except ConfigError:
        return None  # there is no tmpfs, so nothing can lie there
    except (OSError, SpoolError) as problem:
        log.warning("cannot read the blocks held back before a crash: %s", problem)
        return None
