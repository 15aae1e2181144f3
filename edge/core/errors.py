"""The tree of errors. Each message says what is wrong, where, and how to fix it, and is shown to users as is."""


class ImHearingError(Exception):
    """Any failure that users or other programs can cause. `exit_code` is the command line's exit code."""

    exit_code = 1


class UsageError(ImHearingError):
    """Invalid command-line arguments."""

    exit_code = 2


class OutputError(ImHearingError):
    """Standard output cannot be written, for example because the disk is full. A closed pipe is a BrokenPipeError."""


class ConfigError(ImHearingError):
    """The configuration is invalid; `faults` lists every problem found."""

    exit_code = 78  # EX_CONFIG of sysexits.h

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class WireError(ImHearingError):
    """A message or file from outside does not match its type. `field` is the offending field, if known."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class SpoolError(ImHearingError):
    """The spool folder cannot be used: no permission, not a folder, vanished, or locked by another recorder.

    `errno`: the operating system's reason, if it gave one.
    """

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class SpoolBusy(SpoolError):
    """Another recorder is writing to this spool."""


class SpoolMissing(SpoolError):
    """The spool's disk is not mounted, or another one is mounted in its place."""


class EncoderError(SpoolError):
    """The encoder refuses the sound itself, on a disk that works: trying again changes nothing."""


class DeviceError(ImHearingError):
    """The audio source cannot deliver: missing, disconnected, or an unsupported sample rate or channel count."""


class FileUnplayable(DeviceError):
    """The sound file to record from is missing or unreadable. Retrying cannot help, so the recorder exits."""


class FileUnencodable(FileUnplayable):
    """The sound file cannot be recorded in the format that is set. `changes`: settings with which it can,
    `section.key=value`."""

    def __init__(self, message: str, changes: tuple[str, ...]) -> None:
        super().__init__(message)
        self.changes = changes


class CalibrationError(ImHearingError):
    """The recording is unfit for calibration: too quiet, clipped, unsteady, or not the calibrator's tone."""


class StoreError(ImHearingError):
    """The object store refused or failed a request."""


class StoreUnreachable(StoreError):
    """The object store cannot be reached. Does not count as a failed attempt: the link is down."""


class StoreBlocked(StoreError):
    """Only a person can fix this: no bucket, access denied, clock skew. `reason` is a machine-readable code.

    `changes`: the settings that fix it, if any do, each `section.key=value`.
    """

    def __init__(self, message: str, reason: str, changes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.changes = changes


class ChunkDamaged(ImHearingError):
    """The file of finished chunk `chunk_id` is missing, unreadable, or differs from its manifest."""

    def __init__(self, message: str, chunk_id: str) -> None:
        super().__init__(message)
        self.chunk_id = chunk_id


class ChunkUnreadable(ChunkDamaged):
    """Its file cannot be read now; that may pass."""


class CatalogError(ImHearingError):
    """The catalog cannot be opened, read or written."""


class CatalogDamaged(CatalogError):
    """The catalog's file is not a database or is damaged: it must be moved aside and rebuilt."""


class CatalogBusy(CatalogError):
    """The catalog is locked or does not exist yet; retry soon."""


class CatalogInterrupted(CatalogBusy):
    """An archiver was killed within a commit. Whoever may write the catalog undoes it; a reader can only wait."""


class BudgetSpent(CatalogBusy):
    """A question used up what one may cost (rows, bytes, time) before it had anything to answer."""


class DoorError(ImHearingError):
    """A door (Ably, MQTT, HTTP) could not deliver a request or its answer."""


class CertificateFault(DoorError):
    """A door's certificate or its key cannot be used. The message names the file."""


class QueryRefused(ImHearingError):
    """A node rejected a request. `code` is the protocol's (`bad_request`, `busy`, ...), `field` the field at fault."""

    def __init__(self, message: str, code: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class FetchError(ImHearingError):
    """Sound could not be fetched: missing, corrupted in transit, or in more than one format."""


class StoreSilent(FetchError):
    """Sound could not be fetched because the store that holds its archive does not respond."""
