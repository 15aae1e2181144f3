"""What `imhearing broker-setup` writes and prints, without passwords and certificates."""

from __future__ import annotations

import re
from pathlib import Path

from tests.contract import command
from tests.contract.output import Output

_VARIANTS = {"plain": (), "discovery": ("--set", "mqtt.discovery=home"), "no-discovery": ("--set", "mqtt.discovery=")}


def write(output: Output, scratch: Path) -> None:
    for variant, options in _VARIANTS.items():
        folder = scratch / variant
        call = ("broker-setup", "--into", str(folder), "--name", "broker.example", "--set", "node.name=porch", *options)
        first, second = command.run(*call), command.run(*call)
        for name in ("acl", "mosquitto.conf") if variant == "plain" else ("acl",):
            output.text(f"broker-setup/{variant}/{name}", _without_secrets((folder / name).read_text(), folder))
        if variant == "plain":
            output.text("broker-setup/printed.txt", _printed(first, folder))
            output.text("broker-setup/printed-again.txt", _printed(second, folder))
            output.text("broker-setup/mqtt.ini", _without_secrets((folder / "mqtt.ini").read_text(), folder))
            users = [line.split(":")[0] for line in (folder / "passwords").read_text().splitlines()]
            output.lines("broker-setup/users.txt", users)
            output.lines("broker-setup/files.txt", _listing(folder))


def _printed(ended: command.Ended, folder: Path) -> str:
    text = "\n".join(_without_secrets(stream, folder) for stream in (ended.out, ended.err))
    return f"exit code {ended.code}\n\n{text}"


def _without_secrets(text: str, folder: Path) -> str:
    text = text.replace(str(folder), "<folder>")
    text = re.sub(r"(_password = |[Pp]assword:  )[A-Za-z0-9_-]{24}(?![A-Za-z0-9_-])", r"\1<password>", text)
    return re.sub(r"^(porch-\w+: )[A-Za-z0-9_-]{24}(?![A-Za-z0-9_-])", r"\1<password>", text, flags=re.MULTILINE)


def _listing(folder: Path) -> list[str]:
    return [f"{path.stat().st_mode & 0o777:o} {path.name}" for path in sorted(folder.iterdir())]
