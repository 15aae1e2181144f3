"""The `imhearing` command: exit codes, clear messages, and nothing but the result on standard output."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import imhearing
from commands.cli import common, help_texts
from commands.cli.parser import build_parser
from edge import __version__
from edge.core.errors import ImHearingError
from tests.support.wait import DEADLINE
from tests.unit.commands.samples import ESCAPES

FRONT = Path(imhearing.__file__)
COMMANDS = sorted(each.name for each in help_texts.COMMANDS)


def run(*arguments: str, timeout: float = DEADLINE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FRONT), *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys, imhearing\n"
        "try: imhearing.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'paho', 'pony', 'boto3', 'numpy', 'msgspec', 'rich', 'ably', 'pyaudio', 'soundfile', 'asyncio'}\n"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_command_that_ends_does_not_claim_to_try_again(tmp_path: Path) -> None:
    keys = ["s3.access_key_id=a", "s3.secret_access_key=b"]
    store = ["s3.s3_bucket_name=b", "s3.endpoint_url=http://127.0.0.1:9", *keys]
    done = run("make-bucket", "--data", str(tmp_path), *[word for option in store for word in ("--set", option)])
    assert done.returncode == 1
    assert "Could not connect" in done.stderr
    assert "trying again" not in done.stderr


def test_export_refuses_an_option_that_it_would_ignore(tmp_path: Path) -> None:
    done = run("fetch", "--data", str(tmp_path), "--last", "1m", "--export", str(tmp_path), "--gaps", "refuse")
    assert done.returncode == 2
    assert "--gaps refuse: has no effect with --export" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples_and_the_common_options(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        imhearing.main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for word in ("--data", "--config", "--set"):
        assert word in text
    if command != "realtime-server":
        assert re.search(rf"examples?:\n  (sudo )?imhearing {command}\b", text)


@pytest.mark.parametrize("command", COMMANDS)
def test_options_cannot_be_abbreviated(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The installed command's wrapper looks for `--data`, to keep others out of the node's own folder."""
    given = {
        "fetch": ["-o", "a.wav"], "token": ["--client", "a"], "broker-setup": ["--into", "a"], "catalog": ["verify"],
        "configure": ["a.b=c"], "page": ["link"],
    }  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([command, *given.get(command, []), "--dat", "here"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --dat" in capsys.readouterr().err


def test_every_command_has_a_handler_and_a_parser() -> None:
    (choices,) = (
        action.choices for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    assert sorted(choices) == COMMANDS


def _examples() -> list[str]:
    text = "\n".join(text.examples for text in help_texts.COMMANDS)
    return re.findall(r"^  (?:sudo )?(imhearing .*?)(?:   .*)?$", text, re.MULTILINE)


@pytest.mark.parametrize("example", _examples())
def test_examples_in_help_texts_are_valid_command_lines(example: str) -> None:
    words = shlex.split(example.partition("|")[0])
    assert build_parser().parse_args(words[1:]).command == words[1]


def test_version_is_printed() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"imhearing {__version__}\n")


def test_internal_commands_are_not_listed_in_help() -> None:
    assert "realtime-server" not in run("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        ([], 2, ""),
        (["nonsense"], 2, "invalid choice: 'nonsense' (choose from up, recorder, "),
        (["query", "--colour"], 2, "unrecognized arguments: --colour; see `imhearing query --help`"),
        (["query", "--last", "soon"], 2, "try 10m"),
        (["query", "--from", "noon", "--to", "22:00"], 2, "yesterday 22:00"),
        (["query", "--from", "22:10", "--to", "22:00"], 2, "must be before"),
        (["query"], 2, "missing time range"),
        (["query", "--last", "1m", "--via", "pigeon"], 2, "local, ably"),
        (["query", "--type", "gossip"], 2, "coverage, states, sounds, levels, days, extent, status"),
        (["query", "--last", "1m", "--type", "levels", "--step", "0"], 2, "--step"),
        (["query", "--last", "1m", "--type", "sounds", "--order", "x"], 2, "--order"),
        (
            ["query", "--last", "1m", "--type", "days", "--order", "time"],
            2,
            "only for --type sounds or levels, not days",
        ),
        (["query", "--last", "1m", "--min-level", "-30"], 2, "--min-level: only for --type sounds, not coverage"),
        (["query", "--type", "status", "--step", "60"], 2, "--step: only for --type levels, not status"),
        (["query", "--last", "1m", "--timeout", "0"], 2, "--timeout"),
        (["fetch", "--last", "1m"], 2, "-o"),
        (["fetch", "--last", "1m", "-o", "x.mp3"], 2, ".wav, .flac or .opus"),
        (["fetch", "--last", "1m", "-o", "/nowhere/x.wav"], 2, "no such folder /nowhere"),
        (["fetch", "--last", "1m", "-o", "x.wav", "--gaps", "guess"], 2, "--gaps"),
        (["up", "--for", "soon"], 2, "number of seconds"),
        (["up", "--for", "nan"], 2, "number of seconds"),
        (["up", "--set", "recorder.record_period=soon"], 78, "a number"),
        (["recorder", "--config", "/nowhere.ini"], 78, "no such file"),
        (["status", "--set", "nonsense"], 78, "SECTION.KEY=VALUE"),
        (["watch"], 78, "start `imhearing up`"),
        (["query", "--last", "1m"], 1, "no recordings in"),
        (["status"], 1, "no recordings in"),
        (["query", "--last", "1m", "--via", "ably"], 78, "[ably] api_key"),
        (["query", "--last", "1m", "--via", "mqtt"], 78, "use --data with the folder of an `imhearing up`"),
        (["status", "--via", "http"], 78, "[http] port"),
        (["realtime-server"], 78, "[ably] endpoint"),
    ],
)
def test_bad_input_gets_a_clear_message_and_the_right_exit_code(
    arguments: list[str], code: int, expected: str, tmp_path: Path
) -> None:
    data = ["--data", str(tmp_path / "data")] if arguments and arguments[0] in COMMANDS else []
    done = run(*arguments, *data)
    assert done.returncode == code, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    if arguments:
        assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["query", "--last", "-5m"], "--last: the value is missing, or starts with -"),
        (
            ["query", "--last", "1m", "--type", "levels", "--step", "x"],
            "'x' is not a whole number of seconds from 1 to 86400",
        ),
        (["query", "--last", "1m", "--step", "0"], "'0' is not a whole number of seconds from 1 to 86400"),
        (["query", "--last", "1m", "--timeout", "soon"], "'soon' is not a positive number of seconds"),
        (["query", "--last", "1m", "--timeout", "0"], "'0' is not a positive number of seconds"),
        (["query", "--last", "1m", "--min-level", "loud"], "'loud' is not a number"),
        (["query", "--last", "1m", "--min-level", "nan"], "'nan' is not a number"),
        (["calibrate", "--known", "loud"], "'loud' is not a number"),
        (["calibrate", "--gain", "much"], "'much' is not a whole number"),
        (["query", "--lst", "1m"], "--lst"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_is_reported_in_one_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        imhearing.main(arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("imhearing: ")
    assert expected in line
    assert "invalid" not in line or arguments == ["nonsense"]
    assert line.endswith("--help`")


def test_read_only_commands_create_no_files(tmp_path: Path) -> None:
    for command in ("query", "status", "watch"):
        run(command, "--data", str(tmp_path / "data"), *(["--last", "1m"] if command == "query" else []))
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("up", "--data", str(tmp_path / "file" / "data"))
    assert done.returncode in {1, 78}
    assert "Traceback" not in done.stderr
    assert "use another with --data" in done.stderr


def test_an_unexpected_error_is_logged_with_its_traceback_and_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_args: object) -> int:
        raise RuntimeError("\x1b[2Jodd")

    monkeypatch.setattr(imhearing, "_load_handler", lambda _command: fail)
    assert imhearing.main(["status"]) == 1
    assert "RuntimeError" in caplog.text
    output = capsys.readouterr()
    assert "internal error: 'RuntimeError: \\x1b[2Jodd'" in output.err
    assert output.out == ""


def test_ctrl_c_exits_quietly_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(imhearing, "_load_handler", lambda _command: interrupted)
    assert imhearing.main(["status"]) == 130
    assert capsys.readouterr().err == ""


def test_characters_that_the_terminal_lacks_are_replaced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import imhearing, sys\n"
        "imhearing._load_handler = lambda _: lambda _: print('\u2588\u2593 recorded \xfc') or 0\n"
        "sys.exit(imhearing.main(['status']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "#% recorded ?\n", "")


def test_a_closed_pipe_causes_no_error_message() -> None:
    with subprocess.Popen(
        [sys.executable, str(FRONT), "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, complaint = process.communicate(timeout=DEADLINE)
    assert complaint == b""


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["--help"], ["query", "--help"], ["--version"], ["devices", "--json"]])
def test_failed_output_is_reported_in_one_line(arguments: list[str], buffered: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": buffered, "XDG_DATA_HOME": str(tmp_path)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, str(FRONT), *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env=environment,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        1,
        "imhearing: cannot write the output: No space left on device\n",
    )


def test_a_full_disk_elsewhere_is_not_reported_as_failed_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(imhearing, "_load_handler", lambda _command: fail)
    assert imhearing.main(["status"]) == 1
    assert "the output" not in capsys.readouterr().err


@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_closed_pipe_ends_a_command_silently(buffered: str) -> None:
    with subprocess.Popen(
        [sys.executable, str(FRONT), "devices", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": buffered},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.close()
        _, complaint = process.communicate(timeout=DEADLINE)
    assert (process.returncode, complaint) == (141, b"")


def test_devices_are_listed_as_json(tmp_path: Path) -> None:
    done = run("devices", "--json", "--data", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for device in json.loads(done.stdout):
        assert {"name", "channels", "rate", "host_api", "default", "used"} <= set(device)


def test_the_command_runs_from_any_folder(tmp_path: Path) -> None:
    # a folder that has files of our packages' names must not be taken for ours
    (tmp_path / "edge.py").write_text("raise SystemExit('wrong edge')")
    (tmp_path / "commands.py").write_text("raise SystemExit('wrong commands')")
    done = subprocess.run(
        [sys.executable, str(FRONT), "--version"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_external_text_is_escaped_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_args: object) -> int:
        raise ImHearingError(f"node porch: {ESCAPES}\nsecond line: \u00b0C, \u2192")

    monkeypatch.setattr(imhearing, "_load_handler", lambda _command: fail)
    assert imhearing.main(["status"]) == 1
    common.print_message(f"left out: {ESCAPES}\nand \u00e9")
    output = capsys.readouterr().err
    harmless = r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r"
    assert output.split("\n") == [
        f"imhearing: node porch: {harmless}",
        "imhearing: second line: \u00b0C, \u2192",
        f"left out: {harmless}",
        "and \u00e9",
        "",
    ]
