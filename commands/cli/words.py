"""The subcommands: where each runs, and what `--help` says of it. Imports nothing that takes time."""

from __future__ import annotations

from typing import NamedTuple

EPILOG = """\
start here:
  imhearing up                              the whole node in this terminal: record, archive, answer
  imhearing query --last 10m                what is there of the last ten minutes (in a second terminal)
  imhearing fetch --last 1m -o last.flac    the last minute as a sound file

exit codes: 0 done, 1 failed, 2 wrong usage, 78 faults in the configuration
`imhearing COMMAND --help` has examples for each command.
"""

_TIMES = """
times:
  2026-03-03T22:00:00Z       RFC 3339, any offset
  '2026-03-03 22:00[:05]'    local time
  22:00, 'yesterday 22:00'   local time, and `now`
  --last 10m, 90s, 2h, 1d    that long until now
"""


class Words(NamedTuple):
    """A subcommand: what it is for, and examples. One without a purpose is not listed."""

    name: str
    run: str  # module:function, imported only when it runs, so that none pays for another's libraries
    purpose: str
    examples: str


COMMANDS = (
    Words(
        "up",
        "commands.up.up:run",
        "the whole node in this terminal",
        """\
examples:
  imhearing up                                         record from the microphone until Ctrl-C
  imhearing up --data /tmp/try --for 60                for a minute, in a folder of its own
  imhearing up --set recorder.source=synthetic         without a microphone: a made-up scene
  imhearing up --config my.ini                         with your broker, bucket and Ably key
What is not configured is started locally: Mosquitto, an S3 server over a folder, a realtime server.
""",
    ),
    Words(
        "recorder",
        "commands.services:recorder",
        "the recorder alone, for systemd",
        "example:\n  imhearing recorder --config /etc/imhearing.ini\n",
    ),
    Words(
        "archiver",
        "commands.services:archiver",
        "the archiver alone, for systemd",
        "example:\n  imhearing archiver --config /etc/imhearing.ini\n",
    ),
    Words(
        "query-service",
        "commands.services:query_service",
        "the query service alone, for systemd",
        "example:\n  imhearing query-service --config /etc/imhearing.ini\n",
    ),
    Words("realtime-server", "commands.services:realtime_server", "", "The local realtime server of `imhearing up`.\n"),
    Words(
        "query",
        "commands.query:run",
        "what was recorded when, and where it is",
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
    Words(
        "fetch",
        "commands.fetch:run",
        "the sound of a range as a WAV, FLAC or Opus file, cut to the sample",
        f"""\
examples:
  imhearing fetch --last 1m -o last.flac
  imhearing fetch --from 'yesterday 22:00' --to 'yesterday 22:10' -o evening.wav
  imhearing fetch --last 1h --gaps refuse -o whole.flac     only if nothing is missing
  imhearing fetch --last 1d --export night/                 for BirdNET and others, into a folder that is there
  imhearing fetch --last 1m --identity key.txt -o x.wav     what the node encrypted
{_TIMES}""",
    ),
    Words(
        "watch",
        "commands.watch:run",
        "the node's events and level, live",
        """\
examples:
  imhearing watch                              over MQTT: everything, the level of each second too
  imhearing watch --json | jq 'select(.topic | endswith("sound"))'
  imhearing watch --via ably --node porch      from anywhere; `[ably] events = yes` on the node tells more, and at once
  imhearing watch --via http
""",
    ),
    Words(
        "status",
        "commands.status:run",
        "whether it records, and what waits; exit code 1 if it does not record",
        """\
examples:
  imhearing status
  imhearing status --json
  imhearing status --via ably --node porch     from anywhere; also --via mqtt, --via http
  imhearing status --via ably --node all       every node at once
""",
    ),
    Words(
        "devices",
        "commands.devices:run",
        "the input devices, and which one would be used",
        "examples:\n  imhearing devices\n",
    ),
    Words(
        "pause",
        "commands.control:pause",
        "stop recording, at once and honestly: the time counts as paused",
        "examples:\n  imhearing pause 30m\n  imhearing pause            until `imhearing resume`\n",
    ),
    Words("resume", "commands.control:resume", "record again", "example:\n  imhearing resume\n"),
    Words(
        "rotate",
        "commands.control:send",
        "finish the chunk that is being written, begin another",
        "example:\n  imhearing rotate\n",
    ),
    Words(
        "archive",
        "commands.control:send",
        "archive now what is finished, whatever the limits say",
        "example:\n  imhearing archive\n",
    ),
    Words(
        "doctor",
        "commands.doctor.doctor:run",
        "really try each part: microphone, disk, clock, broker, store, Ably, catalog; and say what mends it",
        "examples:\n  imhearing doctor\n  imhearing doctor --json | jq '.findings[] | select(.state != \"ok\")'\n",
    ),
    Words(
        "calibrate",
        "commands.calibrate:run",
        "from dBFS to dBA: by a sound calibrator on the microphone, or a sound of known level",
        """\
examples:
  imhearing calibrate                        a calibrator of 94 dB at 1 kHz is on, for 3 of 10 seconds
  imhearing calibrate --level 114
  imhearing calibrate --gain 60              set the input gain first
  imhearing calibrate --known 62.5           another meter reads LAeq 62.5 dB meanwhile
If the recorder has the microphone:  imhearing pause 5m
""",
    ),
    Words(
        "configure",
        "commands.configure:run",
        "change settings in the configuration file, and leave the rest of it as it is",
        """\
examples:
  imhearing configure recorder.device=USB recorder.sample_rate=44100
  imhearing configure --config my.ini s3.secret_access_key=-     asks for it, or reads it from a pipe
""",
    ),
    Words(
        "token",
        "commands.token:run",
        "a token that lets one client ask over Ably, and no more",
        """\
examples:
  imhearing token --client grandma                         prints the token, which works for a day
  imhearing token --client dashboard --ttl 30d             keep it as you would a password
  imhearing query --via ably --node porch --last 10m       with it, in the variable IMHEARING_ABLY_TOKEN
""",
    ),
    Words(
        "make-bucket",
        "commands.make_bucket:run",
        "make the bucket that the settings name",
        "example:\n  imhearing make-bucket\n",
    ),
    Words(
        "broker-setup",
        "commands.broker_setup:run",
        "passwords, rights and certificates for a Mosquitto broker",
        """\
examples:
  sudo imhearing broker-setup --into /etc/mosquitto/imhearing --name raspberrypi.local
  imhearing broker-setup --into /tmp/broker --name 192.168.1.20 --cert my.crt --key my.key --ca my-ca.crt
What is there already is kept: passwords unless --renew-passwords, the own CA always.
""",
    ),
    Words(
        "catalog",
        "commands.catalog:run",
        "hold the catalog against store and spool (verify), or make it anew from them (rebuild)",
        """\
examples:
  imhearing catalog verify             sizes and names; --deep reads every archive back and compares hashes
  imhearing catalog rebuild            from bucket and spool alone; stop the archiver first
""",
    ),
    Words(
        "hold",
        "commands.hold:run",
        "keep a range from every expiry, and from `forget`",
        f"""\
examples:
  imhearing hold --from '2026-03-03 22:00' --to '2026-03-03 22:10'
  imhearing hold --from '2026-03-03 22:00' --to '2026-03-03 22:10' --release
  imhearing hold                                    what is held
{_TIMES}""",
    ),
    Words(
        "forget",
        "commands.forget:run",
        "erase the sound of a range everywhere: spool, store, clips",
        f"""\
examples:
  imhearing forget --from '2026-03-03 22:00' --to '2026-03-03 22:10'         says what would go, and asks
  imhearing forget --from '2026-03-03 22:00' --to '2026-03-03 22:10' --yes
Whole chunks go: those that have any sound in the range. The archiver carries it out, also later if it is stopped.
{_TIMES}""",
    ),
    Words(
        "unannounce",
        "commands.control:unannounce",
        "take a stopped node back from broker and Home Assistant",
        "example:\n  imhearing unannounce --node porch\n",
    ),
)
