import pytest

from control.fleet.model import Fleet, Identity
from control.fleet.place import StreamID
from control.fleet.routing import health
from control.fleet.states import Observed
from zentransfer.ids import EpochID, NodeID, ProcessName, Region


def joined(fleet: Fleet, node: str, process: str = "ingest-0") -> StreamID:
    """Let a process connect and say that it serves."""
    stream = fleet.hello(Identity(NodeID(node), ProcessName(process), EpochID("a")), 0)
    fleet.heartbeat(stream, Observed.SERVING, 0)
    return stream


def test_a_fleet_that_never_reported_counts_as_up() -> None:
    assert health([]).all_up


def test_a_region_is_up_while_one_of_its_nodes_serves() -> None:
    fleet = Fleet()
    first, second = joined(fleet, "fr-1"), joined(fleet, "fr-2")
    joined(fleet, "us-1")
    assert health(fleet.nodes()).up == {Region.FR, Region.US}
    fleet.disconnected(first)
    assert Region.FR in health(fleet.nodes()).up
    fleet.disconnected(second)
    assert health(fleet.nodes()).up == {Region.US}


@pytest.mark.parametrize("verb", ["drain", "disable"])
def test_nobody_is_sent_where_an_operator_wants_nobody(verb: str) -> None:
    fleet = Fleet()
    joined(fleet, "fr-1")
    joined(fleet, "sg-1")
    getattr(fleet, verb)(NodeID("sg-1"), 60.0, 0.0)
    assert health(fleet.nodes()).up == {Region.FR}


def test_a_node_whose_delivery_alone_is_linked_takes_nobody() -> None:
    fleet = Fleet()
    ingest = joined(fleet, "fr-1")
    joined(fleet, "fr-1", "delivery-0")
    fleet.disconnected(ingest)
    assert health(fleet.nodes()).up == set()
