"""What can be configured: one frozen struct per section of config.ini, each key with its unit, default and bounds.

`config_example.ini` is written from here (`python -m edge.configuration.loader > config_example.ini`).
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
    latitude: Annotated[
        str, _key("Where it stands, for sunrise, sunset and exported files: degrees north (south: -). WGS 84.", "52.52")
    ] = ""
    longitude: Annotated[str, _key("Degrees east (west: -).", "13.405")] = ""
    location: Annotated[str, _key("The place in words, for exported files.", "Back garden, 1.5 m above ground")] = ""


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
    schedule: Annotated[
        str,
        _key(
            "When to record; all other time counts as paused. By the clock (`06:00-22:00`, local time), the sun"
            " (`sunset-30m..sunrise+30m`; also dawn, dusk), as a duty cycle (`60s/300s`), several at once"
            " (`sunset..sunrise 60s/300s`), or either of several (`05:00-08:00, sunset..23:00`). Empty: always.",
            "sunset-30m..sunrise+30m",
        ),
    ] = ""
    sync_seconds: Annotated[
        float, _key("At most this much sound, in seconds, is lost on a power cut.", "10", ge=0.5, le=60)
    ] = 2.0
    keep: Annotated[
        Literal["all", "sounds"],
        _key(
            "What is kept: `all`, or `sounds` only: chunks that no sound touches are discarded, and the answer for"
            " their time is `expired`, cause `quiet`. Needs `sound_level`.",
            "sounds",
        ),
    ] = "all"
    pre_roll: Annotated[
        float, _key("With keep = sounds: this much is kept before a sound, in seconds.", "30", ge=0, le=3600)
    ] = 10.0
    post_roll: Annotated[
        float, _key("With keep = sounds: this much is kept after a sound, in seconds.", "60", ge=0, le=3600)
    ] = 30.0
    block_ms: Annotated[
        int,
        _key(
            "Milliseconds of sound that the sound card hands over at once: fewer is told sooner, more costs less CPU.",
            "40",
            ge=20,
            le=400,
        ),
    ] = 100
    recipients: Annotated[
        str,
        _key(
            "Encrypt each chunk to these age public keys before it reaches the disk, separated by commas. The private"
            " keys never belong on the node. Empty: not encrypted.",
            "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
        ),
    ] = ""
    part_path: Annotated[
        str,
        _key(
            "With recipients: folder on tmpfs where the chunk being written lies. Empty: $XDG_RUNTIME_DIR or /dev/shm.",
            "/run/imhearing",
        ),
    ] = ""


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
    archive_max_chunks: Annotated[int, _key("No archive holds more chunks than this.", "60", ge=1, le=10_000)] = 250
    keep_local: Annotated[
        float,
        _key(
            "Keep chunks on this node for this long after their upload, in seconds, if there is room: when the disk"
            " gets low, the oldest go first. 0: they go at once.",
            "86400",
            ge=0,
        ),
    ] = 0.0
    keep_remote: Annotated[
        float,
        _key(
            "Delete archives this many days after their upload, except what `imhearing hold` protects. 0: never.",
            "365",
            ge=0,
            le=36_500,
        ),
    ] = 0.0
    when_full: Annotated[
        Literal["stop", "drop_oldest"],
        _key(
            "When the disk is full of chunks that cannot be uploaded: stop recording (a gap, `disk_full`), or delete"
            " the oldest of them for good (`expired`, cause `dropped`).",
            "drop_oldest",
        ),
    ] = "stop"
    upload_window: Annotated[
        str,
        Meta(
            description="Upload only between these local times of day. Empty: always.",
            examples=["22:00-06:00"],
            pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9])?$",
        ),
    ] = ""
    max_rate: Annotated[
        float, _key("Upload at most this much, in MB per second, on average. 0: ignore.", "0.5", ge=0)
    ] = 0.0


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
    storage_class: Annotated[
        str, _key("Storage class of archives, where the store has several. Empty: its default.", "STANDARD_IA")
    ] = ""
    encryption: Annotated[
        Literal["", "AES256", "aws:kms"],
        _key("Encryption by the store (SSE) that uploads ask for. Empty: the bucket's default.", "AES256"),
    ] = ""
    kms_key: Annotated[str, _key("With aws:kms: the key's id or ARN. Empty: the account's own.", "alias/imhearing")] = (
        ""
    )
    tags: Annotated[
        str,
        Meta(
            description="Tags of the objects, for lifecycle rules and bills: `name=value`, joined by `&`.",
            examples=["project=garden&kind=sound"],
            pattern=r"^([^=&]{1,128}=[^=&]{0,256}(&[^=&]{1,128}=[^=&]{0,256}){0,9})?$",
        ),
    ] = ""


class Budget(Struct, frozen=True):
    price_per_gb: Annotated[
        float, _key("What the store takes for one GB kept for a month, in your currency. 0: ignore.", "0.023", ge=0)
    ] = 0.0
    budget_cost: Annotated[
        float,
        _key(
            "Stop uploading when what is kept would cost more than this in a calendar month; recording goes on."
            " 0: ignore.",
            "5",
            ge=0,
        ),
    ] = 0.0


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
    token: Annotated[
        Secret, _key("For those who ask (`--via ably`): a token from `imhearing token`, in place of the key.")
    ] = Secret()
    events: Annotated[
        Literal["no", "yes"],
        _key("Whether sounds, archives and states are told on Ably too (`imhearing:events:<node>`).", "yes"),
    ] = "no"


class Http(Struct, frozen=True):
    host: Annotated[
        str, _key("Where the HTTP door listens. Other than loopback only with a `token`.", "0.0.0.0")  # noqa: S104
    ] = "127.0.0.1"
    port: Annotated[
        int,
        _key("Its port. 0: no HTTP door, but `imhearing up` chooses a free one.", "8480", ge=0, le=65_535),
    ] = 0
    token: Annotated[
        Secret, _key("Who asks must send `Authorization: Bearer` and this, at least 16 characters. Empty: nothing.")
    ] = Secret()
    url: Annotated[
        str,
        _key(
            "For those who ask (`--via http`): the door's address, where it is not on this machine.",
            "https://porch.example.com",
        ),
    ] = ""


class Log(Struct, frozen=True):
    log_file: Annotated[
        str, _key("Log to this file too (5 MB, then rotated, 3 kept). Empty: none.", "imhearing.log")
    ] = ""
    level: Annotated[Literal["debug", "info", "warning", "error"], _key("What is worth a line.", "debug")] = "info"
    format: Annotated[
        Literal["plain", "json"], _key("How a line looks: for people and journald, or an object for programs.", "json")
    ] = "plain"


class Settings(Struct, frozen=True):
    """The whole configuration. Paths in it are absolute once `edge.configuration.loader.load` has made it."""

    node: Node = field(default_factory=Node)
    recorder: Recorder = field(default_factory=Recorder)
    levels: Levels = field(default_factory=Levels)
    thresholds: Thresholds = field(default_factory=Thresholds)
    mqtt: Mqtt = field(default_factory=Mqtt)
    archive: Archive = field(default_factory=Archive)
    s3: S3 = field(default_factory=S3)
    budget: Budget = field(default_factory=Budget)
    catalog: Catalog = field(default_factory=Catalog)
    query: Query = field(default_factory=Query)
    ably: Ably = field(default_factory=Ably)
    http: Http = field(default_factory=Http)
    log: Log = field(default_factory=Log)
