"""What an injector returns: what it did, for the judge to know; None if it had no effect.

Keys that the judge reads: `killed`, `stopped` and `restarted` list processes; `from` and `to` are a range.
"""

from __future__ import annotations

from typing import Any

Effect = dict[str, Any] | None
