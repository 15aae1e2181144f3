"""Every MQTT topic, by node: the only module that spells them out. Pure."""

from __future__ import annotations

ROOT = "imhearing"
HOME_ASSISTANT = "homeassistant"  # its own default discovery prefix


def everything() -> str:
    """The filter for all that every node says and is sent."""
    return f"{ROOT}/#"


def of_node(node: str) -> str:
    """The filter for all that one node says and is sent."""
    return f"{ROOT}/{node}/#"


def event(node: str, name: str) -> str:
    """Where an event is published; `name` as in `recorder/chunk`, or `recorder/#` for a filter."""
    return f"{ROOT}/{node}/{name}"


def split_event(topic: str) -> tuple[str, str] | None:
    """Node and name of what `event` made; None for the topics of anybody else."""
    root, _, rest = topic.partition("/")
    node, _, name = rest.partition("/")
    return (node, name) if root == ROOT and name else None


def request(node: str, verb: str) -> str:
    """Where a command is sent; `+` and `#` make filters."""
    return f"{ROOT}/{node}/request/{verb}"


def owners(verb: str) -> str:
    """In place of the verb where a command carries the owner's proof: `request/owner/pause`."""
    return f"owner/{verb}"


def response(node: str, verb: str = "") -> str:
    """Where it is answered; without a verb, what every response topic of the node begins with."""
    return f"{ROOT}/{node}/response/{verb}"


def doctor(node: str, role: str) -> str:
    """Where `imhearing doctor` publishes as each role; `+` makes a filter."""
    return f"{ROOT}/{node}/{role}/doctor"


def discovery(node: str, prefix: str = HOME_ASSISTANT) -> str:
    """Where Home Assistant reads the device's description."""
    return f"{prefix}/device/imhearing_{node}/config"


def home_assistant_status(prefix: str) -> str:
    """Where Home Assistant says `online` when it starts."""
    return f"{prefix}/status"
