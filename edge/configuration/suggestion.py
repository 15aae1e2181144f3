"""What a misspelt name may have meant."""

from __future__ import annotations

from collections.abc import Collection

_SIMILAR = 0.6  # from here on a name may be a misspelling of another


def suggest(name: str, choices: Collection[str]) -> str:
    """The most similar of `choices`, or all of them where none is similar."""
    best = max(choices, key=lambda choice: _similarity(name, choice))
    is_similar = max(_similarity(name, best)) >= _SIMILAR
    return f"did you mean {best}?" if is_similar else f"known: {', '.join(choices)}"


def _similarity(name: str, choice: str) -> tuple[float, float]:
    """To the most similar word of `choice` (`perod` means record_period), then to all of it; 1: equal."""
    import difflib  # noqa: PLC0415 - only a misspelt name needs it

    whole = difflib.SequenceMatcher(None, name, choice).ratio()
    words = (difflib.SequenceMatcher(None, name, word).ratio() for word in choice.split("_"))
    return max(whole, *words), whole
