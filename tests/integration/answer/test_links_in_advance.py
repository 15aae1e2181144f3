"""What links need is loaded when the query service starts, so that no answer waits for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import sys, threading, time
from pathlib import Path
from edge.configuration.loader import load
from query_service import service

def is_ready():
    return "botocore.auth" in sys.modules and all(thread.name != "links" for thread in threading.enumerate())

settings, stop = load(Path(sys.argv[1]).parent, Path(sys.argv[1])), threading.Event()
running = threading.Thread(target=service.run, args=(settings, stop))
running.start()
deadline = time.monotonic() + float(sys.argv[2])
while not is_ready() and time.monotonic() < deadline:
    stop.wait(0.05)
stop.set()
running.join()
print("ready" if is_ready() else "not loaded")
"""


@pytest.mark.parametrize(("bucket", "seconds", "found"), [("garden", 60, "ready"), ("", 1, "not loaded")])
def test_only_a_node_with_a_bucket_loads_what_links_need_and_does_so_before_the_first_question(
    tmp_path: Path, bucket: str, seconds: int, found: str
) -> None:
    config = tmp_path / "config.ini"
    config.write_text(
        f"[node]\nname = porch\n[http]\nport = 0\n[s3]\ns3_bucket_name = {bucket}\n"
        "access_key_id = key\nsecret_access_key = secret\n"
    )
    config.chmod(0o600)
    (tmp_path / "spool").mkdir()
    command = [sys.executable, "-c", _SCRIPT, str(config), str(seconds)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout.strip() == found, result.stderr
