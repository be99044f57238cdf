"""Which regions clients may be sent to, as the fleet looks now.  Pure.

The rule: a region is up while one of its nodes may get clients and has an ingest process on the
line.  A region that never reported is down; with no report at all nothing is known, and all count
as up.
"""

from collections.abc import Iterable

from control.fleet.model import NodeView
from geo.health import ALL_UP, Health


def health(nodes: Iterable[NodeView]) -> Health:
    """Return the health that *nodes* add up to."""
    seen = list(nodes)
    if not seen:
        return ALL_UP
    return Health(frozenset(node.region for node in seen if node.is_routable and _is_linked(node)))


def _is_linked(node: NodeView) -> bool:
    return any(one.is_connected and one.name.startswith("ingest-") for one in node.processes)
