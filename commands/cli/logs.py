"""Where a process logs: one line an event, to standard error and, if `[log] log_file` names one, to that file too."""

from __future__ import annotations

import fcntl
import json
import logging
import logging.handlers
import os
import sys
import time
from pathlib import Path

from edge.configuration.settings import Log
from edge.core.errors import ConfigError

_FILE_BYTES = 5_000_000
_FILES_KEPT = 3
# libraries that say too much; at INFO `ably` prints its key
_QUIET = ("ably", "asyncio", "boto3", "botocore", "urllib3", "s3transfer", "websockets", "httpx", "httpcore", "aiohttp")
# sd-daemon(3): journald takes a priority from the start of the line
_PRIORITIES = {logging.ERROR: "<3>", logging.CRITICAL: "<2>", logging.WARNING: "<4>", logging.DEBUG: "<7>"}


def set_up(settings: Log, service: str) -> None:
    """Logging of the process `service`. ConfigError when the log file cannot be written."""
    root = logging.getLogger()
    root.handlers.clear()
    root.setLevel(settings.level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    console = logging.StreamHandler(sys.stderr)
    lines = JsonFormatter(service) if settings.format == "json" else LineFormatter(service)
    if "JOURNAL_STREAM" not in os.environ:
        console.setFormatter(lines)
    else:
        console.setFormatter(JournalFormatter(service) if settings.format == "plain" else _Prioritised(lines))
    root.addHandler(console)
    if settings.log_file:
        root.addHandler(_file_handler(Path(settings.log_file), lines))


def set_up_for_people() -> None:
    """Logging of a command that talks to a person itself: only what is worth a warning, in a line of its own."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PlainFormatter())
    logging.getLogger().addHandler(handler)
    for name in (*_QUIET, "edge.messaging.connection"):  # such a command says itself whether anybody answered
        logging.getLogger(name).setLevel(logging.CRITICAL)


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return f"imhearing: {escaped(record.getMessage())}{trace}"


class LineFormatter(logging.Formatter):
    """`2026-03-03T22:00:00.123Z WARNING recorder: text`; newlines in it are escaped, so no event forges another."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{stamp}.{int(record.msecs):03d}Z {record.levelname} {self._service}: {self._text(record)}"

    def _text(self, record: logging.LogRecord) -> str:
        text = escaped(record.getMessage())
        if record.exc_info:
            # the lines of a traceback stay lines, indented: only its values can come from outside
            trace = self.formatException(record.exc_info).splitlines()
            text += "".join(f"\n  {escaped(line)}" for line in trace)
        return text


class JournalFormatter(LineFormatter):
    """The same for journald, which has its own time and takes the level from the line's start."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES.get(record.levelno, "<6>")
        return "\n".join(f"{priority}{line}" for line in self._text(record).splitlines())


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `at`, `level`, `service`, `message`, `logger`, and `trace` where there is one."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {
            "at": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "service": self._service,
            "message": record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return json.dumps(fields, separators=(",", ":"))  # ASCII: a terminal is safe from it too


class _Prioritised(logging.Formatter):
    """Another format's lines as journald takes them."""

    def __init__(self, lines: logging.Formatter) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        return _PRIORITIES.get(record.levelno, "<6>") + self._lines.format(record)


class SharedRotatingFileHandler(logging.handlers.RotatingFileHandler):
    """A rotating file that several processes append to: whoever finds it full rotates, the others open it anew."""

    def emit(self, record: logging.LogRecord) -> None:
        if not self._is_current():
            self._open_anew()
        super().emit(record)

    def doRollover(self) -> None:
        descriptor = os.open(f"{self.baseFilename}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self._is_current():
                super().doRollover()
            else:  # another process was first
                self._open_anew()
        finally:
            os.close(descriptor)

    def _open_anew(self) -> None:
        if self.stream is not None:
            self.stream.close()
        self.stream = self._open()

    def _is_current(self) -> bool:
        if self.stream is None:
            return False
        try:
            return os.path.samestat(os.fstat(self.stream.fileno()), Path(self.baseFilename).stat())
        except FileNotFoundError:
            return False


def escaped(text: str) -> str:
    """Control characters, newlines among them, as escapes: what came from outside stays one line and harmless."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _file_handler(path: Path, lines: logging.Formatter) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = SharedRotatingFileHandler(path, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8")
    except OSError as problem:
        raise ConfigError(
            [f"[log] log_file = {path}: cannot be written ({problem.strerror}); mend its rights or name another"]
        ) from None
    handler.setFormatter(lines)
    return handler
