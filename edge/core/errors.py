"""One tree of errors. Each message says what is wrong, where, and what to do; it is shown to people as it stands."""


class ImHearingError(Exception):
    """Anything that a person or another program can cause. `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(ImHearingError):
    """The command line was called with something that it does not take."""

    exit_code = 2


class OutputLost(ImHearingError):
    """Standard output cannot be written: its disk is full, say. A reader that has gone is a BrokenPipeError."""


class ConfigError(ImHearingError):
    """The configuration has faults; `faults` names every one of them."""

    exit_code = 78  # EX_CONFIG of sysexits.h

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class WireError(ImHearingError):
    """A message or file from outside does not fit its type. `field` names the place, where it is known."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class SpoolError(ImHearingError):
    """The spool folder cannot be used: missing rights, not a folder, vanished, or another recorder has it."""


class SpoolBusy(SpoolError):
    """Another recorder writes into this spool."""


class EncoderError(SpoolError):
    """The encoder refuses the sound itself, on a disk that works: trying again changes nothing."""


class DeviceError(ImHearingError):
    """The microphone or other source cannot deliver: not there, wrong rate, wrong channels, gone."""


class FileUnplayable(DeviceError):
    """The sound file to be recorded from is not there or is none. Waiting mends nothing: it ends the recorder."""


class FileUnencodable(FileUnplayable):
    """The sound file cannot be recorded in the format that is set. `changes`: settings with which it can,
    `section.key=value`."""

    def __init__(self, message: str, changes: tuple[str, ...]) -> None:
        super().__init__(message)
        self.changes = changes


class CalibrationError(ImHearingError):
    """A recording cannot calibrate the microphone: too quiet, clipped, unsteady, or not the calibrator's tone."""


class StoreError(ImHearingError):
    """The object store refused or did not do what was asked."""


class StoreUnreachable(StoreError):
    """No connection to the object store. Not a failed attempt: the link is down."""


class StoreBlocked(StoreError):
    """Only a person can mend this: no bucket, access denied, clock skew. `reason` is one word for machines."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ChunkDamaged(ImHearingError):
    """A finished chunk's file is missing, cannot be read, or is not what its manifest says. `chunk_id` names it."""

    def __init__(self, message: str, chunk_id: str) -> None:
        super().__init__(message)
        self.chunk_id = chunk_id


class CatalogError(ImHearingError):
    """The catalog cannot be opened, read or written."""


class CatalogDamaged(CatalogError):
    """The catalog's file is no database, or a broken one: it must be set aside and built anew."""


class CatalogBusy(CatalogError):
    """The catalog is locked or not there yet; trying again soon will do."""


class DoorError(ImHearingError):
    """A door (Ably, MQTT, HTTP) could not carry a question or its answer."""


class QueryRefused(ImHearingError):
    """A node answered no. `code` is the protocol's (`bad_request`, `busy`, ...), `field` the request's, where known."""

    def __init__(self, message: str, code: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class FetchError(ImHearingError):
    """Sound could not be fetched whole: missing, changed on the way, or of several formats."""


class StoreSilent(FetchError):
    """Sound could not be fetched because nothing answers where its archive should be."""
