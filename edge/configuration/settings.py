"""All settings: one frozen struct per section of config.ini, each key with its unit, default and bounds.

`config_example.ini` is generated from here (`python -m edge.configuration.loader > config_example.ini`).
"""

# Longer than 400 lines because it declares every setting once, and readers look them up here.

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

UNIX = "unix:"  # before the path of a socket


def _key(description: str, *examples: str, ge: float | None = None, le: float | None = None) -> Meta:
    return Meta(description=description, examples=list(examples), ge=ge, le=le)


class Secret(str):
    """Text that stays masked in logs and tracebacks. `.reveal()` returns it."""

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
        _key("Name of this node: up to 63 of a-z, 0-9, _ and -. Empty: derived from the host name.", "porch"),
    ] = ""
    former_names: Annotated[
        str,
        _key(
            "Earlier names of this node, comma-separated: what it recorded and uploaded under them remains its own.",
            "raspberrypi",
        ),
    ] = ""
    latitude: Annotated[
        str, _key("Latitude (WGS 84), for sunrise, sunset and exported files: degrees north, negative south.", "52.52")
    ] = ""
    longitude: Annotated[str, _key("Longitude: degrees east, negative west.", "13.405")] = ""
    location: Annotated[
        str, _key("Description of the place, for exported files.", "Back garden, 1.5 m above ground")
    ] = ""

    @property
    def earlier_names(self) -> tuple[str, ...]:
        """`former_names`, one by one."""
        return tuple(name for text in self.former_names.split(",") if (name := text.strip()) and name != self.name)


class Recorder(Struct, frozen=True):
    record_path: Annotated[
        Path, _key("Folder for finished chunks, relative to the data folder.", "/mnt/usb/imhearing/spool")
    ] = Path("spool")
    record_period: Annotated[float, _key("Chunk length, in seconds.", "300", ge=1, le=3600)] = 60.0
    source: Annotated[
        str,
        _key(
            "Audio source: `auto` (the microphone if there is one, else a synthetic scene), `microphone`, `synthetic`,"
            " or the path of a sound file, which is played once.",
            "microphone",
        ),
    ] = "auto"
    pace: Annotated[
        Literal["real", "max"],
        _key("Speed of a file or synthetic source: `real` time, or `max` (as fast as possible).", "max"),
    ] = "real"
    device: Annotated[
        str, _key("Part of the input device's name as listed by `imhearing devices`. Empty: the default device.", "USB")
    ] = ""
    sample_rate: Annotated[int, _key("Sample rate, in Hz.", "44100", ge=8_000, le=192_000)] = 48_000
    channels: Annotated[int, _key("Number of channels.", "2", ge=1, le=8)] = 1
    format: Annotated[
        Literal["flac", "wav"], _key("File format of chunks, both lossless; flac takes about half the space.", "wav")
    ] = "flac"
    bits: Annotated[Literal[16, 24], _key("Bits per sample.", "24")] = 16
    schedule: Annotated[
        str,
        _key(
            "When to record; at all other times the node is paused. By the clock (`06:00-22:00`, local time), by the"
            " sun (`sunset-30m..sunrise+30m`; also dawn, dusk), as a duty cycle (`60s/300s`), combined"
            " (`sunset..sunrise 60s/300s`), or as alternatives (`05:00-08:00, sunset..23:00`). Empty: always.",
            "sunset-30m..sunrise+30m",
        ),
    ] = ""
    sync_seconds: Annotated[float, _key("Most sound that a power cut can lose, in seconds.", "10", ge=0.5, le=60)] = 2.0
    keep: Annotated[
        Literal["all", "sounds"],
        _key(
            "Keep `all` chunks, or only those with `sounds`: quiet chunks are discarded, and their time is answered"
            " as `expired`, cause `quiet`. Requires `sound_level`.",
            "sounds",
        ),
    ] = "all"
    pre_roll: Annotated[float, _key("With keep = sounds: seconds to keep before a sound.", "30", ge=0, le=3600)] = 10.0
    post_roll: Annotated[float, _key("With keep = sounds: seconds to keep after a sound.", "60", ge=0, le=3600)] = 30.0
    block_ms: Annotated[
        int,
        _key(
            "Block size of the sound card, in milliseconds: smaller blocks lower latency, larger ones save CPU.",
            "40",
            ge=20,
            le=400,
        ),
    ] = 100
    recipients: Annotated[
        str,
        _key(
            "Encrypt each chunk to these age public keys (comma-separated) before it reaches the disk. Keep the private"
            " keys off the node. Empty: not encrypted.",
            "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
        ),
    ] = ""
    part_path: Annotated[
        str,
        _key(
            "With recipients: tmpfs folder for the chunk being written. Empty: the runtime folder, else /dev/shm.",
            "/run/imhearing",
        ),
    ] = ""

    @property
    def encrypts(self) -> bool:
        """Whether chunks are encrypted before they reach the disk."""
        return bool(self.recipients.strip())


class Levels(Struct, frozen=True):
    hysteresis: Annotated[
        float,
        _key("A sound lasts while the fast level stays within this many dB below `sound_level`.", "6", ge=0, le=60),
    ] = 3.0
    hold_seconds: Annotated[
        float, _key("A sound ends after this many seconds below that level.", "5", ge=0, le=600)
    ] = 2.0


class Thresholds(Struct, frozen=True):
    records_count: Annotated[
        int, _key("Archive once this many finished chunks are waiting. 0: off.", "60", ge=0, le=1_000_000)
    ] = 10
    storage_usage: Annotated[float, _key("Archive once the waiting chunks take this many MB. 0: off.", "500", ge=0)] = (
        0.0
    )
    oldest_age: Annotated[
        float, _key("Archive once the oldest waiting chunk is this many seconds old. 0: off.", "3600", ge=0)
    ] = 0.0
    sound_level: Annotated[
        float,
        _key(
            "A sound starts when the fast A-weighted level reaches this, in dBFS (negative), or in dBA once calibrated;"
            " finished chunks are then archived. 0: off.",
            "-35",
            ge=-200,
            le=200,
        ),
    ] = 0.0
    disk_free: Annotated[
        float, _key("Warn when the spool's disk has less than this many MB free. 0: off.", "1000", ge=0)
    ] = 0.0


class Mqtt(Struct, frozen=True):
    host: Annotated[
        str,
        _key("Host name or address of the broker, or `unix:PATH`. Empty: `imhearing up` starts one.", "pi.local"),
    ] = ""
    port: Annotated[int, _key("Port of the broker.", "8883", ge=1, le=65_535)] = 1883
    username: Annotated[
        str,
        _key(
            "User name. Empty: anonymous. `{role}` stands for recorder, archiver, query, control or page.",
            "porch-{role}",
        ),
    ] = ""
    password: Annotated[Secret, _key("Password.")] = Secret()
    recorder_password: Annotated[Secret, _key("Password of the recorder, if `username` contains `{role}`.")] = Secret()
    archiver_password: Annotated[Secret, _key("Password of the archiver.")] = Secret()
    query_password: Annotated[Secret, _key("Password of the query service.")] = Secret()
    control_password: Annotated[
        Secret, _key("Password of `imhearing pause`, `watch` and the other commands that use the broker.")
    ] = Secret()
    page_password: Annotated[
        Secret, _key("Password of the account over which the query service passes on what the page's owner orders.")
    ] = Secret()
    tls: Annotated[Literal["off", "on"], _key("Use TLS and verify the broker's certificate.", "on")] = "off"
    ca_file: Annotated[
        str, _key("CA certificates to verify the broker with (PEM). Empty: the system's.", "imhearing-ca.crt")
    ] = ""
    cert_file: Annotated[str, _key("Client certificate (PEM), if the broker requires one.", "imhearing-client.crt")] = (
        ""
    )
    key_file: Annotated[str, _key("Key of the client certificate (PEM).", "imhearing-client.key")] = ""
    transport: Annotated[
        Literal["tcp", "websockets"], _key("Transport; `websockets` passes through web proxies.", "websockets")
    ] = "tcp"
    websocket_path: Annotated[str, _key("Path on the broker for `websockets`.", "/ws")] = "/mqtt"
    discovery: Annotated[
        str,
        _key(
            "Topic prefix of Home Assistant's MQTT discovery. Empty: discovery is off, and entities announced before"
            " are removed.",
            "homeassistant",
        ),
    ] = "homeassistant"

    @property
    def socket_path(self) -> str | None:
        """The path of the broker's Unix socket, if `host` names one."""
        return self.host.removeprefix(UNIX) if self.host.startswith(UNIX) else None

    @property
    def address(self) -> str:
        """Where the broker is, for messages to people."""
        return self.host if self.socket_path is not None else f"{self.host}:{self.port}"


class Archive(Struct, frozen=True):
    archive_max_mb: Annotated[float, _key("Maximum size of an archive, in MB.", "256", ge=1, le=100_000)] = 64.0
    archive_max_chunks: Annotated[int, _key("Maximum number of chunks in an archive.", "60", ge=1, le=10_000)] = 250
    keep_local: Annotated[
        float,
        _key(
            "Keep chunks on the node for this many seconds after upload, disk space permitting: when it runs low, the"
            " oldest are deleted first. 0: delete them at once.",
            "86400",
            ge=0,
        ),
    ] = 0.0
    keep_remote: Annotated[
        float,
        _key(
            "Delete archives this many days after upload, except what `imhearing hold` protects. 0: never.",
            "365",
            ge=0,
            le=36_500,
        ),
    ] = 0.0
    when_full: Annotated[
        Literal["stop", "drop_oldest"],
        _key(
            "When the disk is full of chunks that cannot be uploaded: `stop` recording (a gap, cause `disk_full`), or"
            " `drop_oldest`: permanently delete the oldest chunks (`expired`, cause `dropped`).",
            "drop_oldest",
        ),
    ] = "stop"
    upload_window: Annotated[
        str,
        Meta(
            description="Upload only between these local times. Empty: always.",
            examples=["22:00-06:00"],
            pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9])?$",
        ),
    ] = ""
    max_rate: Annotated[
        float,
        _key("Maximum average rate of uploads, and of reading them back, in MB per second. 0: unlimited.", "0.5", ge=0),
    ] = 0.0


class S3(Struct, frozen=True):
    s3_bucket_name: Annotated[str, _key("Bucket for archives.", "my-garden-sounds")] = ""
    s3_region: Annotated[str, _key("Region of the bucket.", "eu-central-1")] = "us-east-1"
    endpoint_url: Annotated[
        str,
        _key(
            "URL of the S3 service. Empty: AWS, or, without a bucket name, the local server of `imhearing up`.",
            "https://s3.example.com",
        ),
    ] = ""
    addressing: Annotated[
        Literal["auto", "path", "virtual"],
        _key(
            "Where the bucket's name stands in addresses: in the `path`, or in the host name (`virtual`). `auto`: path,"
            " except at AWS.",
            "virtual",
        ),
    ] = "auto"
    ca_file: Annotated[
        str, _key("CA certificates to verify the S3 service with (PEM). Empty: the system's.", "store-ca.crt")
    ] = ""
    public_endpoint_url: Annotated[
        str, _key("URL to use in links to sound, if clients reach the store at a different address.")
    ] = ""
    prefix: Annotated[str, _key("Prefix of every key in the bucket.", "sounds/")] = "imhearing/"
    access_key_id: Annotated[Secret, _key("Access key ID. Empty: found the way the AWS tools do.")] = Secret()
    secret_access_key: Annotated[Secret, _key("Secret access key.")] = Secret()
    checksums: Annotated[
        Literal["when_required", "when_supported"],
        _key(
            "Whether uploads also carry the newer CRC checksums, which some S3-compatible stores reject.",
            "when_supported",
        ),
    ] = "when_required"
    read_back: Annotated[
        str,
        Meta(
            description="Archives to read back and compare before their chunks leave the disk: `always`, `first` (the"
            " first ones after each start), or a fraction. The rest are verified by the store's answers alone.",
            examples=["0.1"],
            pattern=r"^(always|first|0\.[0-9]*[1-9][0-9]*)$",
        ),
    ] = "always"
    storage_class: Annotated[str, _key("Storage class of archives. Empty: the store's default.", "STANDARD_IA")] = ""
    encryption: Annotated[
        Literal["", "AES256", "aws:kms"],
        _key("Server-side encryption (SSE) of uploads. Empty: the bucket's default.", "AES256"),
    ] = ""
    kms_key: Annotated[
        str, _key("With aws:kms: the key's ID or ARN. Empty: the account's default key.", "alias/imhearing")
    ] = ""
    tags: Annotated[
        str,
        Meta(
            description="Object tags, for lifecycle rules and billing: `name=value`, joined by `&`.",
            examples=["project=garden&kind=sound"],
            pattern=r"^([^=&]{1,128}=[^=&]{0,256}(&[^=&]{1,128}=[^=&]{0,256}){0,9})?$",
        ),
    ] = ""


class Budget(Struct, frozen=True):
    price_per_gb: Annotated[float, _key("Storage price per GB and month, in your currency. 0: off.", "0.023", ge=0)] = (
        0.0
    )
    read_price_per_gb: Annotated[
        float, _key("Price of reading a GB from the store, for `[s3] read_back`. 0: free.", "0.09", ge=0)
    ] = 0.0
    budget_cost: Annotated[
        float,
        _key(
            "Stop uploading when the store would cost more than this in a calendar month; recording continues. 0: off.",
            "5",
            ge=0,
        ),
    ] = 0.0


class Catalog(Struct, frozen=True):
    db_path: Annotated[Path, _key("The catalog's SQLite file, relative to the data folder.")] = Path("catalog.db")


class Query(Struct, frozen=True):
    url_seconds: Annotated[
        int, _key("Lifetime of presigned links in answers, in seconds.", "3600", ge=1, le=604_800)
    ] = 900
    cursor_key: Annotated[
        Secret, _key("Signs the cursors of long answers. Empty: made at every start, so that cursors end with it.")
    ] = Secret()


class Ably(Struct, frozen=True):
    api_key: Annotated[
        Secret,
        _key(
            "Ably API key (`app.key:secret`) with publish, subscribe and presence on `imhearing:*`."
            " Empty: `imhearing up` starts a realtime server for this machine only."
        ),
    ] = Secret()
    endpoint: Annotated[str, _key("Another server that speaks the Ably protocol. Empty: Ably.")] = ""
    token: Annotated[
        Secret, _key("For clients (`--via ably`): a token from `imhearing token`, instead of the key.")
    ] = Secret()
    events: Annotated[
        Literal["no", "yes"],
        _key("Publish sounds, archives and states on Ably too (`imhearing:events:<node>`).", "yes"),
    ] = "no"


class Http(Struct, frozen=True):
    host: Annotated[
        str, _key("Address that the HTTP door listens on. Beyond loopback, `token` is required.", "0.0.0.0")  # noqa: S104
    ] = "127.0.0.1"
    port: Annotated[
        int,
        _key("Port of the HTTP door. 0: no HTTP door (`imhearing up` picks a free port).", "8480", ge=0, le=65_535),
    ] = 0
    token: Annotated[
        Secret, _key("Bearer token that clients must send, at least 16 characters. Empty: no token needed.")
    ] = Secret()
    owner_password: Annotated[
        Secret,
        _key("For the page: whoever knows it hears and acts. `imhearing page password` sets it, as a hash."),
    ] = Secret()
    viewer_password: Annotated[
        Secret, _key("For the page: whoever knows it sees levels and sounds as numbers, and hears nothing.")
    ] = Secret()
    certificate: Annotated[
        str,
        _key(
            "Certificate of the HTTP door (PEM, with its chain): it then speaks TLS, https://. `imhearing broker-setup"
            " --page` issues one.",
            "page.crt",
        ),
    ] = ""
    key: Annotated[str, _key("Key of that certificate (PEM), if it is not in the same file.", "page.key")] = ""
    live: Annotated[
        Literal["no", "yes"],
        _key("Let the owner listen on the page to what is being recorded, unless it is encrypted.", "yes"),
    ] = "no"
    owner_key: Annotated[
        Secret,
        _key(
            "Signs what the page's owner orders, for recorder and archiver: any long random text. The query service"
            " need not know it. Empty: the page cannot act."
        ),
    ] = Secret()
    url: Annotated[
        str,
        _key(
            "For clients (`--via http`): URL of the HTTP door, if it is on another machine.",
            "https://porch.example.com",
        ),
    ] = ""


class Log(Struct, frozen=True):
    log_file: Annotated[
        str, _key("Also log to this file (rotated at 5 MB, 3 kept). Empty: no file.", "imhearing.log")
    ] = ""
    level: Annotated[Literal["debug", "info", "warning", "error"], _key("Lowest level to log.", "debug")] = "info"
    format: Annotated[
        Literal["plain", "json"],
        _key("`plain` text for people and journald, or one `json` object a line for programs.", "json"),
    ] = "plain"


class Settings(Struct, frozen=True):
    """The whole configuration. Paths are absolute if it comes from `edge.configuration.loader.load`."""

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

    @property
    def recorder_folder(self) -> Path:
        """What the recorder and its commands write outside of the spool; the archiver writes what is around it."""
        return self.catalog.db_path.parent / "recorder"
