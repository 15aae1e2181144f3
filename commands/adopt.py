"""`imhearing adopt`: accepts the settings that the recorder refuses."""

from __future__ import annotations

import argparse

from commands.cli.common import load_settings, print_message
from edge.core.errors import ImHearingError
from edge.spool.home import Home


def run(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    folder = settings.catalog.db_path.parent
    try:
        Home(settings).remember()
    except OSError as problem:
        raise ImHearingError(f"{folder}: cannot be written ({problem.strerror}); run this as the node's user") from None
    sound = "encrypted" if settings.recorder.recipients.strip() else "not encrypted"
    print_message(f"{folder} belongs to node {settings.node.name}; its sound is {sound}")
    return 0
