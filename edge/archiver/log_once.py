"""Problems that come back every minute are logged once."""

from __future__ import annotations

import logging


class WarnOnce:
    """Logs the first problem with each name."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self.names: set[str] = set()

    def __call__(self, name: str, problem: Exception) -> None:
        if name not in self.names:
            self.names.add(name)
            self._log.warning("%s", problem)


class LogChanges:
    """Logs a problem unless it is the one logged last."""

    def __init__(self, log: logging.Logger, level: int = logging.WARNING) -> None:
        self._log, self._level = log, level
        self._last = ""

    def __call__(self, problem: Exception) -> None:
        if str(problem) != self._last:
            self._log.log(self._level, "%s", problem)
        self._last = str(problem)

    def clear(self) -> None:
        """The problem is over: it is logged again when it comes back."""
        self._last = ""
