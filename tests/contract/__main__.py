"""Writes the contract into a folder that is not there yet, or is empty."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.contract import broker_setup, documents, running, settings, usage
from tests.contract.output import Output

_EPILOG = """\
tests/contract/expected holds the contract as it was last committed, and tests/integration/test_contract.py compares.

to update it:
  rm -r tests/contract/expected
  scripts/contract tests/contract/expected
  git diff tests/contract/expected

A commit that moves or renames code changes none of these files. A commit that edits prose changes text for people
only: help, descriptions, messages. Every other difference needs a line in CHANGELOG.md.
"""


def write(root: Path) -> None:
    """The whole contract, into `root`."""
    output = Output(root)
    documents.write(output)
    settings.write(output)
    usage.write(output)
    with tempfile.TemporaryDirectory(prefix="imhearing-contract-") as scratch:
        broker_setup.write(output, Path(scratch) / "broker")
        running.write(output, Path(scratch))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/contract",
        description="Writes what others depend on into DIR, byte for byte the same each time.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("into", metavar="DIR", type=Path, help="a new or empty folder")
    into: Path = parser.parse_args().into
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        parser.error(f"{into}: is not empty; remove it, or name another folder")
    write(into)
    return 0


if __name__ == "__main__":
    sys.exit(main())
