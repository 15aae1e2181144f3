"""The subcommands: the function that runs each, its `--help` text and its own arguments. Imports nothing slow."""

from __future__ import annotations

from typing import Any, NamedTuple

EPILOG = """\
getting started:
  imhearing up                              run a whole node in this terminal: record, archive, answer
  imhearing query --last 10m                list what was recorded in the last 10 minutes (in a second terminal)
  imhearing fetch --last 1m -o last.flac    save the last minute as a sound file

exit codes: 0 success, 1 failure, 2 wrong usage, 78 invalid configuration
Run `imhearing COMMAND --help` for a command's options and examples.
"""

_TIMES = """
times:
  2026-03-03T22:00:00Z       RFC 3339, any offset
  '2026-03-03 22:00[:05]'    local time
  22:00, 'today 22:00'       local time; without a day, the most recent one; also 'yesterday 22:00', `now`
  --last 10m, 90s, 2h, 1d    up to now
"""


QUERY_TYPES = "coverage (default), states, sounds, levels, days, extent, status or clip"


class Argument(NamedTuple):
    """One argument of a subcommand, as `argparse.ArgumentParser.add_argument` takes it."""

    names: tuple[str, ...]
    options: dict[str, Any]


def argument(*names: str, **options: Any) -> Argument:
    return Argument(names, options)


class Subcommand(NamedTuple):
    """A subcommand: its function and its help. With an empty summary, `imhearing --help` does not list it."""

    name: str
    run: str  # module:function, imported only when it runs
    summary: str
    examples: str
    arguments: tuple[Argument, ...] = ()  # its own; what several subcommands share is in the parser


COMMANDS = (
    Subcommand(
        "up",
        "commands.up.up:run",
        "run a whole node in this terminal",
        """\
examples:
  imhearing up                                         record from the microphone until Ctrl-C
  imhearing up --data /tmp/try --for 60                run for a minute, in a separate folder
  imhearing up --set recorder.source=synthetic         record a synthetic scene, without a microphone
  imhearing up --config my.ini                         use your broker, bucket and Ably key
Whatever is not configured runs locally: Mosquitto, an S3 server on a folder, a realtime server. --set is for one start;
to keep settings, put them into a file for --config.
""",
    ),
    Subcommand(
        "recorder",
        "commands.services:recorder",
        "run only the recorder, under systemd",
        "example:\n  imhearing recorder --config /etc/imhearing.ini\n",
    ),
    Subcommand(
        "archiver",
        "commands.services:archiver",
        "run only the archiver, under systemd",
        "example:\n  imhearing archiver --config /etc/imhearing.ini\n",
    ),
    Subcommand(
        "query-service",
        "commands.services:query_service",
        "run only the query service, under systemd",
        "example:\n  imhearing query-service --config /etc/imhearing.ini\n",
    ),
    Subcommand(
        "realtime-server", "commands.services:realtime_server", "", "The local realtime server of `imhearing up`.\n"
    ),
    Subcommand(
        "query",
        "commands.query:run",
        "show what was recorded when, and where it is stored",
        f"""\
examples:
  imhearing query --last 10m
  imhearing query --from '2026-03-03 22:00' --to '2026-03-03 22:10'
  imhearing query --last 1h --json | jq '.intervals[].state'
  imhearing query --last 10m --via ably --node porch   from anywhere
  imhearing query --last 10m --via ably --node all     every node at once
  imhearing query --last 1d --type sounds --min-level -30
  imhearing query --last 1h --type levels --step 300
  imhearing query --type status
{_TIMES}""",
    ),
    Subcommand(
        "fetch",
        "commands.fetch:run",
        "download the sound of a time range as a WAV, FLAC or Opus file, exact to the sample",
        f"""\
examples:
  imhearing fetch --last 1m -o last.flac
  imhearing fetch --from 'yesterday 22:00' --to 'yesterday 22:10' -o evening.wav
  imhearing fetch --last 1h --gaps refuse -o complete.flac   only if nothing is missing
  imhearing fetch --last 1d --export night/                 for BirdNET and others, into an existing folder
  imhearing fetch --last 1m --identity key.txt -o x.wav     decrypt sound that the node encrypted
{_TIMES}""",
    ),
    Subcommand(
        "play",
        "commands.play:run",
        "play a time range, or the loudest minute of a day",
        f"""\
examples:
  imhearing play --last 1m
  imhearing play --from 'yesterday 22:00' --to 'yesterday 22:10'
  imhearing play --loudest yesterday                   the minute with the highest LAeq
  imhearing play --last 1m --via ably --node porch     a node elsewhere, heard here
  imhearing play --last 1m --identity key.txt          decrypt sound that the node encrypted
{_TIMES}
It uses the first of these that is installed: mpv, ffplay, cvlc, pw-play, paplay, play, aplay, afplay.
""",
        (argument("--loudest", metavar="DAY", help="the loudest minute of today, yesterday or 2026-03-03"),),
    ),
    Subcommand(
        "watch",
        "commands.watch:run",
        "show the node's events and level live",
        """\
examples:
  imhearing watch                              over MQTT: all events, and the level every second
  imhearing watch --json | jq 'select(.topic | endswith("sound"))'
  imhearing watch --via ably --node porch      from anywhere; `[ably] events = yes` on the node shows more, sooner
  imhearing watch --via http
""",
    ),
    Subcommand(
        "status",
        "commands.status:run",
        "show whether the node is recording and what is waiting for upload; exit code 1 if it is not recording",
        """\
examples:
  imhearing status
  imhearing status --json
  imhearing status --via ably --node porch     from anywhere; also --via mqtt, --via http
  imhearing status --via ably --node all       every node at once
""",
    ),
    Subcommand(
        "devices",
        "commands.microphone:devices",
        "list input devices and show which one would be used",
        "examples:\n  imhearing devices\n",
    ),
    Subcommand(
        "pause",
        "commands.control:pause",
        "stop recording at once; the time is reported as paused",
        "examples:\n  imhearing pause 30m\n  imhearing pause            until `imhearing resume`\n",
        (argument("duration", nargs="?", metavar="DURATION", help="such as 30m or 2h (default: until resume)"),),
    ),
    Subcommand("resume", "commands.control:resume", "resume recording", "example:\n  imhearing resume\n"),
    Subcommand(
        "rotate",
        "commands.control:send",
        "finish the current chunk and start a new one",
        "example:\n  imhearing rotate\n",
    ),
    Subcommand(
        "archive",
        "commands.control:send",
        "archive all finished chunks now, whatever the thresholds",
        "example:\n  imhearing archive\n",
    ),
    Subcommand(
        "doctor",
        "commands.doctor.doctor:run",
        "test microphone, disk, clock, broker, store, Ably and catalog, and say how to fix what fails",
        "examples:\n  imhearing doctor\n  imhearing doctor --json | jq '.findings[] | select(.state != \"ok\")'\n",
    ),
    Subcommand(
        "calibrate",
        "commands.microphone:calibrate",
        "calibrate levels to dBA with a sound calibrator or a sound of known level",
        """\
examples:
  imhearing calibrate                        with a 94 dB, 1 kHz calibrator on for at least 3 of the 10 seconds
  imhearing calibrate --level 114
  imhearing calibrate --gain 60              set the input gain first
  imhearing calibrate --known 62.5           while another meter reads an LAeq of 62.5 dB
If the recorder is using the microphone, first run: imhearing pause 5m
""",
    ),
    Subcommand(
        "configure",
        "commands.configure:run",
        "change settings in the configuration file, leaving the rest of it as it is",
        """\
examples:
  imhearing configure recorder.device=USB recorder.sample_rate=44100
  imhearing configure --config my.ini s3.secret_access_key=-     prompt for the secret, or read it from a pipe
""",
    ),
    Subcommand(
        "adopt",
        "commands.adopt:run",
        "accept the disk or the settings that the recorder refuses",
        """\
examples:
  imhearing adopt                                the spool is on a new disk
  imhearing adopt --from /mnt/old/spool          move the sound on the old disk there, too
  imhearing adopt --set recorder.recipients=     from now on, sound is not encrypted
If the recorder is recording, stop it first. Interrupted, it resumes where it stopped when run again.
""",
    ),
    Subcommand(
        "token",
        "commands.token:run",
        "issue a query-only Ably token for one client",
        """\
examples:
  imhearing token --client grandma                         print a token that is valid for a day
  imhearing token --client dashboard --ttl 30d             keep it secret, like a password
  imhearing query --via ably --node porch --last 10m       uses the token in $IMHEARING_ABLY_TOKEN
""",
        (
            argument("--client", required=True, metavar="ID", help="the client's id: A-Z, a-z, 0-9, _ and -"),
            argument("--ttl", default="24h", metavar="LENGTH", help="how long the token is valid (24h)"),
            argument("--utc", action="store_true", help="show times in UTC instead of local time"),
        ),
    ),
    Subcommand(
        "page",
        "commands.page:run",
        "open the web page as its owner, or set its passwords",
        """\
examples:
  imhearing page link                  print a link that opens the page as the owner, once, within ten minutes
  imhearing page password              for other devices: whoever knows it hears, downloads and acts
  imhearing page password --viewer     whoever knows this one sees levels and sounds as numbers, and hears nothing
  imhearing page proof                 for programs: shows that the owner sent a command, for a week
""",
        (
            argument(
                "action", choices=("link", "password", "proof"), help="print a link, set a password, or print a proof"
            ),
            argument("--viewer", action="store_true", help="set the password of those who may not hear"),
        ),
    ),
    Subcommand(
        "make-bucket", "commands.make_bucket:run", "create the configured bucket", "example:\n  imhearing make-bucket\n"
    ),
    Subcommand(
        "broker-setup",
        "commands.broker_setup:run",
        "create passwords, access rules and certificates for a Mosquitto broker",
        """\
examples:
  sudo imhearing broker-setup --into /etc/mosquitto/imhearing --name raspberrypi.local
  sudo imhearing broker-setup --into /etc/mosquitto/imhearing --name raspberrypi.local --page
  imhearing broker-setup --into /tmp/broker --name 192.168.1.20 --cert my.crt --key my.key --ca my-ca.crt
Existing passwords are kept unless you give --renew-passwords; an existing CA is always kept.
""",
    ),
    Subcommand(
        "catalog",
        "commands.catalog:run",
        "verify the catalog against the store and the spool, or repair it",
        """\
examples:
  imhearing catalog verify             check names and sizes; --deep reads every archive back and checks hashes
  imhearing catalog rebuild            from bucket and spool alone; stop the archiver first
  imhearing catalog recover            undo a commit in which the archiver was killed, as it does when it starts
""",
    ),
    Subcommand(
        "hold",
        "commands.retention:hold",
        "protect a time range from expiry and from `forget`",
        f"""\
examples:
  imhearing hold --from '2026-03-03 22:00' --to '2026-03-03 22:10'
  imhearing hold --from '2026-03-03 22:00' --to '2026-03-03 22:10' --release
  imhearing hold                                    list the held ranges
{_TIMES}""",
    ),
    Subcommand(
        "forget",
        "commands.retention:forget",
        "erase the sound of a time range everywhere: spool, store, clips",
        f"""\
examples:
  imhearing forget --from '2026-03-03 22:00' --to '2026-03-03 22:10'         list what would be erased, then confirm
  imhearing forget --from '2026-03-03 22:00' --to '2026-03-03 22:10' --yes
Erases every chunk that overlaps the range. The archiver does the work; if it is stopped, as soon as it runs again.
{_TIMES}""",
    ),
    Subcommand(
        "unannounce",
        "commands.control:unannounce",
        "remove a stopped node from the broker and Home Assistant",
        "example:\n  imhearing unannounce --node porch\n",
    ),
)
