"""`imhearing configure` changes one value, preserves the rest of the file and rejects invalid values."""

from __future__ import annotations

import configparser
import io
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.cli.parser import build_parser
from commands.configure import run, with_setting
from commands.up.plan import MARKER
from edge.configuration.loader import example_ini, load
from edge.core.errors import ConfigError, ImHearingError, UsageError
from edge.spool.home import Home

FILE = """\
# mine
[recorder]
# the good one
device = USB
sample_rate=44100

[s3]
; where
prefix = a/
  b/
"""


def test_configure_reports_an_unwritable_file() -> None:
    with pytest.raises(ImHearingError, match=r"config\.ini: cannot be written \(No such file.*\); run this with sudo"):
        configure(Path("/proc"), "recorder.channels=2")  # where not even root can create a file


def configure(folder: Path, *changes: str) -> int:
    return run(build_parser().parse_args(["configure", "--data", str(folder), *changes]))


@pytest.mark.parametrize(
    ("section", "key", "value", "after"),
    [
        ("recorder", "device", "Blue", FILE.replace("device = USB", "device = Blue")),
        ("recorder", "sample_rate", "48000", FILE.replace("sample_rate=44100", "sample_rate = 48000")),
        ("recorder", "channels", "2", FILE.replace("=44100\n", "=44100\nchannels = 2\n")),
        ("s3", "prefix", "", FILE.replace("prefix = a/\n  b/\n", "prefix =\n")),
        ("node", "name", "porch", FILE + "\n[node]\nname = porch\n"),
    ],
)
def test_configure_changes_only_the_settings_line(section: str, key: str, value: str, after: str) -> None:
    assert with_setting(FILE, section, key, value) == after


INDENTED = """\
[recorder]
  device = USB
  recipients = age1a,
    # of the office
    age1b,

    age1c
  # how it is
  channels = 2
"""


@pytest.mark.parametrize(
    ("key", "value", "after"),
    [
        ("device", "Blue", INDENTED.replace("device = USB", "device = Blue")),
        (
            "recipients",
            "age1x",
            "[recorder]\n  device = USB\n  recipients = age1x\n  # how it is\n  channels = 2\n",
        ),
    ],
)
def test_indented_settings_are_told_from_continued_values(key: str, value: str, after: str) -> None:
    assert with_setting(INDENTED, "recorder", key, value) == after


def test_a_byte_order_mark_does_not_hide_the_first_section(tmp_path: Path) -> None:
    path = tmp_path / "config.ini"
    path.write_text("\ufeff[recorder]\nchannels = 1\n", encoding="utf-8")
    path.chmod(0o600)
    assert configure(tmp_path, "recorder.channels=2") == 0
    assert path.read_text(encoding="utf-8") == "[recorder]\nchannels = 2\n"
    assert load(tmp_path, environ={}).recorder.channels == 2


def test_configure_adds_a_section_to_an_empty_file() -> None:
    assert with_setting("", "node", "name", "porch") == "[node]\nname = porch\n"


SECTIONS, KEYS = st.sampled_from(["node", "recorder", "s3", "mqtt"]), st.sampled_from(["a", "device", "prefix", "host"])
VALUES = st.text(st.characters(codec="ascii", exclude_characters="\n\r", categories=("L", "N", "P", "S")), max_size=20)


@given(st.lists(st.tuples(SECTIONS, KEYS, VALUES), max_size=8), st.booleans())
def test_the_last_change_wins_and_the_rest_is_preserved(changes: list[tuple[str, str, str]], full: bool) -> None:
    text = example_ini() if full else FILE

    def read(written: str) -> dict[tuple[str, str], str]:
        parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=None)
        parser.read_file(io.StringIO(written))
        return {(section, key): value for section in parser.sections() for key, value in parser.items(section)}

    wanted = read(text)
    for section, key, value in changes:
        text = with_setting(text, section, key, value)
        wanted[section, key] = value
    assert read(text) == wanted
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        line for line in (example_ini() if full else FILE).splitlines() if line.startswith("#")
    ]


def test_a_new_name_adds_the_one_recorded_under_to_the_former_names(tmp_path: Path) -> None:
    for name in ("porch", "garden"):
        configure(tmp_path, f"node.name={name}")
        Home(load(tmp_path, environ={})).remember()
    configure(tmp_path, "node.name=meadow")
    node = load(tmp_path, environ={}).node
    assert (node.name, node.earlier_names) == ("meadow", ("porch", "garden"))
    Home(load(tmp_path, environ={})).check_settings()


def test_a_name_under_which_nothing_was_recorded_is_no_former_name(tmp_path: Path) -> None:
    configure(tmp_path, "node.name=porch")
    configure(tmp_path, "node.name=garden")
    assert "former_names" not in (tmp_path / "config.ini").read_text()


def test_configure_creates_a_private_file(tmp_path: Path) -> None:
    assert configure(tmp_path / "new", "recorder.channels=2", "node.name=porch") == 0
    assert load(tmp_path / "new", environ={}).recorder.channels == 2
    assert stat.S_IMODE((tmp_path / "new" / "config.ini").stat().st_mode) == 0o600


def test_setting_a_secret_makes_the_file_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.ini"
    path.write_text(FILE)
    path.chmod(0o644)
    configure(tmp_path, "recorder.channels=2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    monkeypatch.setattr("sys.stdin", io.StringIO("hush=hush\n"))
    configure(tmp_path, "mqtt.password=-", "mqtt.username=me")
    assert load(tmp_path, environ={}).mqtt.password.reveal() == "hush=hush"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "change", ["recorder.channels=99", "recorder.chanels=1", "rec.channels=1", "node.latitude=200"]
)
def test_configure_with_an_invalid_value_changes_nothing(tmp_path: Path, change: str) -> None:
    (tmp_path / "config.ini").write_text(FILE)
    with pytest.raises(ConfigError):
        configure(tmp_path, "recorder.device=Other", change)
    assert (tmp_path / "config.ini").read_text() == FILE


@pytest.mark.parametrize("change", ["channels=2", "recorder.channels", "node.location=a\nb"])
def test_configure_rejects_malformed_changes(tmp_path: Path, change: str) -> None:
    with pytest.raises(UsageError):
        configure(tmp_path, change)


def test_the_file_generated_by_up_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_text(f"# {MARKER}.\n")
    with pytest.raises(ConfigError, match=r"--set"):
        configure(tmp_path, "recorder.channels=2")
