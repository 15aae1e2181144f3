"""How pytest-xdist's workers share the tests: what shares something expensive runs in one of them, in order.

By files, as xdist's own groups have no effect since pytest 9.2, which ignores the suffix that they add to node IDs.
"""

from __future__ import annotations

from xdist.scheduler.loadscope import LoadScopeScheduling

_PAGE = "tests/integration/page/"
TOGETHER = {
    "a life of the node campaign": ("tests/campaigns/test_node_campaign.py",),
    "a node of an earlier version": ("tests/compatibility/test_data_of_4bf7b8b.py",),
    "a catalog with many archives": ("tests/integration/archiver/retention/test_expiry_limit.py",),
    "an archived recording": ("tests/integration/commands/test_catalog.py",),
    "a whole node": ("tests/integration/commands/test_up.py",),
    "a node for the commands of the documentation": ("tests/integration/test_documented_commands.py",),
    "the JavaScript client": ("tests/integration/loopback/test_javascript.py",),
    "the source, parsed": ("tests/unit/architecture/", "tests/unit/test_setup_packages.py"),
    "Node-RED": ("tests/integration/test_node_red.py",),
    "other stores": ("tests/integration/store/test_store_contract.py",),
    "a browser, and a node to look at": (_PAGE,),
    "a browser, and nodes that change": tuple(
        f"{_PAGE}test_{name}.py" for name in ("acting", "from_elsewhere", "heard", "listening")
    ),
}
_GROUPS = {path: group for group, paths in TOGETHER.items() for path in paths}


def group_of(node_id: str) -> str:
    """By file, else by folder; a test that is in none is a group of its own."""
    path = node_id.partition("::")[0]
    return _GROUPS.get(path) or _GROUPS.get(path[: path.rfind("/") + 1], node_id)


class Workers(LoadScopeScheduling):  # type: ignore[misc]
    """Large groups first, then the single tests as they were collected: end-to-end ones first, units last."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
