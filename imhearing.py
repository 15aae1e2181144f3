"""The `imhearing` command."""


def main() -> int:
    """Runs the command line and gives the exit code."""
    raise SystemExit("imhearing: not built yet")
