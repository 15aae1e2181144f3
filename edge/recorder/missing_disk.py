"""What the recorder does while the spool's disk is not mounted, and with sound that is somewhere else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edge.configuration.settings import Settings
from edge.core.errors import SpoolError, SpoolMissing
from edge.core.kernel_clock import KernelClock
from edge.core.systemd import Heartbeat
from edge.core.values import SpoolState
from edge.recorder.durable.joining import has_sound, join
from edge.recorder.durable.repair import repair
from edge.recorder.session import ModeReporter
from edge.spool.home import Home
from edge.spool.spool import Spool

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0


class StraySound:
    """Sound of this node that is not in its spool."""

    def __init__(self, settings: Settings, home: Home, kernel: KernelClock) -> None:
        self._settings, self._home, self._kernel = settings, home, kernel

    def keep(self) -> None:
        """Moves sound that was recorded to a bare mount point to where the disk, once mounted, does not hide it."""
        settings = self._settings
        names = (settings.node.name, settings.node.earlier_names)
        misplaced, strays = Spool(settings.recorder.record_path, *names), Spool(self._home.strays, *names)
        try:
            if not self._home.is_disk_unmounted() or not has_sound(misplaced):
                return
            strays.create()
            self._home.add_to_join(strays.path)
            state, _ = repair(strays, self._kernel, settings=settings)
            join(misplaced, strays, state, self._kernel, settings)
        except (OSError, SpoolError) as problem:
            log.error("%s: sound recorded there could not be moved: %s", misplaced.path, problem)  # noqa: TRY400

    def join(self, spool: Spool, state: SpoolState) -> SpoolState:
        """Moves everything that is somewhere else into `spool`; what fails is tried again at the next start."""
        for folder in self._home.to_join():
            source = Spool(folder, spool.node, spool.names[1:])
            try:
                if source.path.is_dir():
                    state = join(source, spool, state, self._kernel, self._settings)
                    self._home.mark_joined(folder)
                else:
                    log.error("%s: is not available, so its sound is not in the spool yet", folder)
            except (OSError, SpoolError) as problem:
                log.error("%s: its sound cannot be moved into the spool yet: %s", folder, problem)  # noqa: TRY400
        return state


def wait_for_disk(
    spool: Spool,
    strays: StraySound,
    kernel: KernelClock,
    modes: ModeReporter,
    stop: threading.Event,
    heartbeat: Heartbeat,
    on_missing: Callable[[], object],
) -> int | None:
    """Returns once the spool's disk is mounted, or on `stop`: since when it was missing, in µs of the monotonic clock;
    None where it was not. Calls `on_missing` if it has to wait."""
    since: int | None = None
    while not stop.is_set():
        try:
            spool.check_disk()
        except SpoolMissing as problem:
            if since is None:
                since = kernel.monotonic()
                log.error("%s", problem)  # noqa: TRY400
                on_missing()
                strays.keep()
            modes.report("disk_full", str(problem))
            heartbeat.beat()
            stop.wait(_POLL_SECONDS)
        else:
            break
    return since
