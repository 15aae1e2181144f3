"""What can be configured: one frozen struct per section of config.ini, each key with its unit, default and bounds.

`config_example.ini` is written from here (`python -m edge.config > config_example.ini`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field


def _key(description: str, *examples: str, ge: float | None = None, le: float | None = None) -> Meta:
    return Meta(description=description, examples=list(examples), ge=ge, le=le)


class Secret(str):
    """Text that never shows itself: not in a log, not in a traceback. `str.__str__(secret)` or `.reveal()` gives it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'" if self.reveal() else "''"

    def __str__(self) -> str:
        return "***" if self.reveal() else ""

    def __format__(self, spec: str) -> str:
        return str(self)

    def reveal(self) -> str:
        return str.__str__(self)


class Node(Struct, frozen=True):
    name: Annotated[
        str,
        _key("Name of this node: a-z, 0-9, _ and -, at most 63. Empty: the host's name made to fit.", "porch"),
    ] = ""


class Recorder(Struct, frozen=True):
    record_path: Annotated[Path, _key("Folder of finished chunks. Relative to the data folder.", "/mnt/usb/spool")] = (
        Path("spool")
    )
    record_period: Annotated[float, _key("Length of a chunk, in seconds.", "300", ge=1, le=3600)] = 60.0
    source: Annotated[
        str,
        _key(
            "Where sound comes from: `auto` (the microphone if there is one, else a synthetic scene), `microphone`,"
            " `synthetic`, or the path of a sound file, which is played once.",
            "microphone",
        ),
    ] = "auto"
    pace: Annotated[
        Literal["real", "max"],
        _key("How fast a file or synthetic source runs: `real` time, or `max` (as fast as it goes).", "max"),
    ] = "real"
    device: Annotated[
        str, _key("Part of the input device's name, as `imhearing devices` lists them. Empty: the default.", "USB")
    ] = ""
    sample_rate: Annotated[int, _key("Samples per second and channel.", "44100", ge=8_000, le=192_000)] = 48_000
    channels: Annotated[int, _key("Channels to record.", "2", ge=1, le=8)] = 1
    format: Annotated[
        Literal["flac", "wav"], _key("File format of chunks, both lossless; flac takes about half the room.", "wav")
    ] = "flac"
    bits: Annotated[Literal[16, 24], _key("Bits per sample.", "24")] = 16
    sync_seconds: Annotated[
        float, _key("At most this much sound, in seconds, is lost on a power cut.", "10", ge=0.5, le=60)
    ] = 2.0
    block_frames: Annotated[
        int, _key("Frames per block from the sound card: fewer is quicker, more costs less CPU.", ge=256, le=16_384)
    ] = 2_048


class Levels(Struct, frozen=True):
    hysteresis: Annotated[
        float,
        _key("A sound goes on while the fast level stays within this many dB below `sound_level`.", "6", ge=0, le=60),
    ] = 3.0
    hold_seconds: Annotated[
        float, _key("A sound ends this long after it last was that loud, in seconds.", "5", ge=0, le=600)
    ] = 2.0


class Thresholds(Struct, frozen=True):
    records_count: Annotated[
        int, _key("Archive once this many finished chunks wait. 0: ignore.", "60", ge=0, le=1_000_000)
    ] = 10
    storage_usage: Annotated[
        float, _key("Archive once the chunks that wait take this much, in MB. 0: ignore.", "500", ge=0)
    ] = 0.0
    oldest_age: Annotated[
        float, _key("Archive once the oldest chunk that waits is this old, in seconds. 0: ignore.", "3600", ge=0)
    ] = 0.0
    sound_level: Annotated[
        float,
        _key(
            "A sound starts, and what is finished is archived, when the fast A-weighted level reaches this: in dBFS"
            " (negative), or in dBA once calibrated. 0: ignore.",
            "-35",
            ge=-200,
            le=200,
        ),
    ] = 0.0
    disk_free: Annotated[
        float, _key("Tell when less than this is left on the spool's disk, in MB. 0: ignore.", "1000", ge=0)
    ] = 0.0


class Mqtt(Struct, frozen=True):
    host: Annotated[str, _key("The MQTT broker. Empty: `imhearing up` starts one.", "homeassistant.local")] = ""
    port: Annotated[int, _key("The broker's port.", "8883", ge=1, le=65_535)] = 1883
    username: Annotated[
        str,
        _key(
            "Who to log in as. Empty: anonymous. `{role}` in it stands for recorder, archiver, query or control.",
            "porch-{role}",
        ),
    ] = ""
    password: Annotated[Secret, _key("Password of that user.")] = Secret()
    recorder_password: Annotated[Secret, _key("The recorder's own, where `username` holds `{role}`.")] = Secret()
    archiver_password: Annotated[Secret, _key("The archiver's own.")] = Secret()
    query_password: Annotated[Secret, _key("The query service's own.")] = Secret()
    control_password: Annotated[
        Secret, _key("That of `imhearing pause`, `watch` and the other commands that talk to the broker.")
    ] = Secret()
    tls: Annotated[Literal["off", "on"], _key("Encrypt, and check who the broker is.", "on")] = "off"
    ca_file: Annotated[
        str, _key("Certificates that the broker's must come from (PEM). Empty: the system's.", "imhearing-ca.crt")
    ] = ""
    cert_file: Annotated[
        str, _key("Our own certificate (PEM), where the broker asks for one.", "imhearing-client.crt")
    ] = ""
    key_file: Annotated[str, _key("The key of that certificate (PEM).", "imhearing-client.key")] = ""
    transport: Annotated[
        Literal["tcp", "websockets"], _key("How MQTT is carried; `websockets` passes web proxies.", "websockets")
    ] = "tcp"
    websocket_path: Annotated[str, _key("The path on the broker, for `websockets`.", "/ws")] = "/mqtt"
    discovery: Annotated[
        str,
        _key(
            "Home Assistant finds the node by itself below this topic. Empty: it does not, and what it found before"
            " is taken back.",
            "homeassistant",
        ),
    ] = "homeassistant"


class Archive(Struct, frozen=True):
    archive_max_mb: Annotated[float, _key("No archive gets larger than this, in MB.", "256", ge=1, le=100_000)] = 64.0
    archive_max_chunks: Annotated[int, _key("No archive holds more chunks than this.", "60", ge=1, le=10_000)] = 1_000


class S3(Struct, frozen=True):
    s3_bucket_name: Annotated[str, _key("The bucket for archives.", "my-garden-sounds")] = ""
    s3_region: Annotated[str, _key("The bucket's region.", "eu-central-1")] = "us-east-1"
    endpoint_url: Annotated[
        str,
        _key(
            "The S3 service's address. Empty: AWS, or, without a bucket name, the folder server of `imhearing up`.",
            "https://s3.example.com",
        ),
    ] = ""
    public_endpoint_url: Annotated[
        str, _key("The address that links to sound name, where clients reach the store by another one.")
    ] = ""
    prefix: Annotated[str, _key("Every key in the bucket starts with this.", "sounds/")] = "imhearing/"
    access_key_id: Annotated[Secret, _key("Access key. Empty: as the AWS tools find theirs.")] = Secret()
    secret_access_key: Annotated[Secret, _key("Its secret.")] = Secret()
    checksums: Annotated[
        Literal["when_required", "when_supported"],
        _key("Whether uploads carry the newer CRC checksums too, which some S3 clones refuse.", "when_supported"),
    ] = "when_required"


class Catalog(Struct, frozen=True):
    db_path: Annotated[Path, _key("The catalog's SQLite file. Relative to the data folder.")] = Path("catalog.db")


class Query(Struct, frozen=True):
    url_seconds: Annotated[
        int, _key("How long the links to sound in an answer work, in seconds.", "3600", ge=1, le=604_800)
    ] = 900


class Ably(Struct, frozen=True):
    api_key: Annotated[
        Secret,
        _key(
            "An Ably API key (`app.key:secret`) with publish, subscribe and presence on `imhearing:*`."
            " Empty: `imhearing up` starts a realtime server for this machine alone."
        ),
    ] = Secret()
    endpoint: Annotated[str, _key("Another server that speaks the Ably protocol. Empty: Ably itself.")] = ""


class Log(Struct, frozen=True):
    log_file: Annotated[
        str, _key("Log to this file too (5 MB, then rotated, 3 kept). Empty: none.", "imhearing.log")
    ] = ""
    level: Annotated[Literal["debug", "info", "warning", "error"], _key("What is worth a line.", "debug")] = "info"


class Settings(Struct, frozen=True):
    """The whole configuration. Paths in it are absolute once `edge.config.load` has made it."""

    node: Node = field(default_factory=Node)
    recorder: Recorder = field(default_factory=Recorder)
    levels: Levels = field(default_factory=Levels)
    thresholds: Thresholds = field(default_factory=Thresholds)
    mqtt: Mqtt = field(default_factory=Mqtt)
    archive: Archive = field(default_factory=Archive)
    s3: S3 = field(default_factory=S3)
    catalog: Catalog = field(default_factory=Catalog)
    query: Query = field(default_factory=Query)
    ably: Ably = field(default_factory=Ably)
    log: Log = field(default_factory=Log)
