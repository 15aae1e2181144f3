"""Logging: one line per event to standard error, and to `[log] log_file` if it is set."""

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
# libraries that log too much; at INFO `ably` prints its key
_NOISY = ("ably", "asyncio", "boto3", "botocore", "urllib3", "s3transfer", "websockets", "httpx", "httpcore", "aiohttp")
# sd-daemon(3): journald reads the priority from the start of a line
_PRIORITIES = {logging.ERROR: "<3>", logging.CRITICAL: "<2>", logging.WARNING: "<4>", logging.DEBUG: "<7>"}


def set_up(settings: Log, service: str) -> None:
    """Sets up logging for the process `service`. ConfigError if the log file cannot be written."""
    root = logging.getLogger()
    root.handlers.clear()
    root.setLevel(settings.level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    console = logging.StreamHandler(sys.stderr)
    lines = JsonFormatter(service) if settings.format == "json" else LineFormatter(service)
    if "JOURNAL_STREAM" not in os.environ:
        console.setFormatter(lines)
    else:
        console.setFormatter(JournalFormatter(TextFormatter() if settings.format == "plain" else lines))
    root.addHandler(console)
    if settings.log_file:
        root.addHandler(_file_handler(Path(settings.log_file), lines))


def set_up_for_people() -> None:
    """Sets up logging for an interactive command: warnings and errors only, one line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PlainFormatter())
    logging.getLogger().addHandler(handler)
    for name in (*_NOISY, "edge.messaging.connection"):  # the command itself reports whether it got an answer
        logging.getLogger(name).setLevel(logging.CRITICAL)


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return f"imhearing: {escaped(record.getMessage())}{trace}"


class TextFormatter(logging.Formatter):
    """The text alone; escapes newlines, so that no event can forge another."""

    def format(self, record: logging.LogRecord) -> str:
        text = escaped(record.getMessage())
        if record.exc_info:
            # a traceback keeps its lines, indented: only the values in it can come from outside
            trace = self.formatException(record.exc_info).splitlines()
            text += "".join(f"\n  {escaped(line)}" for line in trace)
        return text


class LineFormatter(TextFormatter):
    """`2026-03-03T22:00:00.123Z WARNING recorder: text`."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        return f"{_stamp(record)} {record.levelname} {self._service}: {super().format(record)}"


class JournalFormatter(logging.Formatter):
    """Another formatter's lines, each with the prefix from which journald reads its level."""

    def __init__(self, lines: logging.Formatter) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES.get(record.levelno, "<6>")
        return "\n".join(f"{priority}{line}" for line in self._lines.format(record).splitlines())


class JsonFormatter(logging.Formatter):
    """One JSON object per line: `at`, `level`, `service`, `message`, `logger`, and `trace` after an exception."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "at": _stamp(record),
            "level": record.levelname,
            "service": self._service,
            "message": record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return json.dumps(fields, separators=(",", ":"))  # ASCII, so also safe on a terminal


def _stamp(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


class SharedRotatingFileHandler(logging.handlers.RotatingFileHandler):
    """A rotating file shared by several processes: whoever finds it full rotates it, the others reopen it."""

    def emit(self, record: logging.LogRecord) -> None:
        if not self._is_current():
            self._reopen()
        super().emit(record)

    def doRollover(self) -> None:
        descriptor = os.open(f"{self.baseFilename}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self._is_current():
                super().doRollover()
            else:  # another process has rotated it
                self._reopen()
        finally:
            os.close(descriptor)

    def _reopen(self) -> None:
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
    """Escapes control characters, including newlines, so that external text stays on one line and is harmless."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _file_handler(path: Path, lines: logging.Formatter) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = SharedRotatingFileHandler(path, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8")
    except OSError as problem:
        raise ConfigError(
            [f"[log] log_file = {path}: cannot be written ({problem.strerror}); fix its permissions or use another"]
        ) from None
    handler.setFormatter(lines)
    return handler
