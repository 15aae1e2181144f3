"""`imhearing hold`: protects time ranges from deletion. Works without any running service."""

from __future__ import annotations

import argparse

from commands.cli import logs
from commands.cli.common import load_settings_for_query, now, print_json, print_message
from commands.cli.times import parse_range
from commands.show.formats import precise
from edge.catalog.holds import change_holds, read_holds
from edge.core.errors import ImHearingError, UsageError


def run(args: argparse.Namespace) -> int:
    """Without a range, lists the holds."""
    logs.set_up_for_people()
    catalog = load_settings_for_query(args).catalog.db_path
    has_range = any((args.start, args.end, args.last))
    if args.release and not has_range:
        raise UsageError("--release needs a range; use --from and --to as shown by `imhearing hold`")
    if not has_range:
        holds = read_holds(catalog)
    else:
        start, end = parse_range(args.start, args.end, args.last, now())
        try:
            holds = change_holds(
                catalog, lambda held: held.released(start, end) if args.release else held.added(start, end)
            )
        except OSError as problem:
            raise ImHearingError(
                f"{catalog.parent}: cannot be written ({problem.strerror}); run this as the node's user"
            ) from None
    if args.json:
        print_json(holds)
        return 0
    for hold in holds.holds:
        print(f"held: {precise(hold.from_, args.utc, True)} to {precise(hold.to, args.utc, True)}")
    if not holds.holds:
        print_message("no holds")
    return 0
