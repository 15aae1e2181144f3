"""Settings written as INI, as `up` and config_example.ini have them, load back unchanged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.configuration.loader import _SECTIONS, example_ini, load, to_ini
from edge.configuration.settings import S3, Ably, Mqtt, Recorder, Secret, Settings

ROOT = Path(__file__).parents[3]
NOTHING: dict[str, str] = {}


def write(folder: Path, text: str) -> None:
    path = folder / "config.ini"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)


_words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)


_api_keys = st.from_regex(r"[A-Za-z0-9._-]{1,20}:[\x21-\x7e]{1,20}", fullmatch=True)


@given(
    word=_words,
    path=_words,
    secret=_words,
    api_key=_api_keys,
    host=st.from_regex(r"[\w-]{1,20}(\.[\w-]{1,20}){0,3}", fullmatch=True),
    period=st.floats(1, 3600),
    port=st.integers(1, 65_535),
)
def test_settings_written_as_ini_load_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory,
    word: str,
    path: str,
    secret: str,
    api_key: str,
    host: str,
    period: float,
    port: int,
) -> None:
    folder = tmp_path_factory.mktemp("written")
    settings = Settings(
        recorder=Recorder(record_path=Path("/x") / path.replace("/", "_"), record_period=period, device=word, bits=24),
        mqtt=Mqtt(host=host, port=port, password=Secret(secret)),
        s3=S3(prefix=f"a{word}"),
        ably=Ably(api_key=Secret(api_key)),
    )
    text = to_ini(settings, "a heading\nof two lines")
    assert text.startswith("# a heading\n# of two lines\n")
    write(folder, text)
    again = load(folder, environ=NOTHING)
    assert (again.recorder, again.s3) == (settings.recorder, settings.s3)
    assert (again.mqtt.password.reveal(), again.ably.api_key.reveal()) == (secret, api_key)
    assert (again.mqtt.host, again.mqtt.port) == (host, port)


_lines = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20), max_size=4)


@given(lines=_lines, ending=st.sampled_from(["\n", "\n\n", "\r\n", "\r", "\x0b", "\u2028"]))
def test_a_value_over_several_lines_is_one_line_afterwards(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], ending: str
) -> None:
    """However it was set: what `up` writes for the services must be what they read."""
    folder = tmp_path_factory.mktemp("lines")
    settings = load(folder, None, [f"node.location={ending.join(lines)}"], NOTHING)
    assert len(settings.node.location.splitlines()) <= 1
    write(folder, to_ini(settings, "a heading"))
    assert load(folder, environ=NOTHING) == settings


def test_a_list_over_several_lines_is_read_as_one_value(tmp_path: Path) -> None:
    write(tmp_path, "[recorder]\nschedule = 05:00-08:00,\n  # at night\n\n    22:00-23:00\n")
    settings = load(tmp_path, environ=NOTHING)
    assert settings.recorder.schedule == "05:00-08:00, 22:00-23:00"
    write(tmp_path, to_ini(settings, "a heading"))
    assert load(tmp_path, environ=NOTHING) == settings


def test_config_example_is_up_to_date() -> None:
    written = (ROOT / "config_example.ini").read_text(encoding="utf-8")
    assert written == example_ini(), "run: python -m edge.configuration.loader > config_example.ini"


def test_config_example_loads_as_the_defaults(tmp_path: Path) -> None:
    write(tmp_path, example_ini())
    assert load(tmp_path, environ=NOTHING) == load(tmp_path, Path(os.devnull), environ=NOTHING)


def test_config_example_explains_every_setting() -> None:
    lines = example_ini().splitlines()
    for section, struct in _SECTIONS.items():
        assert f"[{section}]" in lines
        for key in struct.__struct_fields__:
            place = next(index for index, line in enumerate(lines) if line.startswith(f"{key} ="))
            above = lines[place - 1]
            assert above.startswith("#"), key


def test_every_example_value_is_valid(tmp_path: Path) -> None:
    examples, section = [], ""
    for line in example_ini().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line.startswith("#   Example: "):
            key, _, value = line.removeprefix("#   Example: ").partition(" = ")
            examples.append(f"{section}.{key}={value}")
    assert len(examples) > 20
    load(tmp_path, None, examples, NOTHING)  # all at once: some keys need each other
