"""The recorder's process stays small: what it does not need, it does not import."""

from __future__ import annotations

import subprocess
import sys

_UNNEEDED = "{'asyncio', 'unittest', 'pony', 'boto3', 'ably', 'pyrage'}"


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_the_recorder_imports_no_library_it_does_not_need() -> None:
    assert run(f"import sys, edge.recorder.service; print({_UNNEEDED} & set(sys.modules) or 'none')") == "none"
