from dataclasses import replace

import pytest

from control.accounts.destinations import Clash as ControlClash
from control.accounts.destinations import DestinationKind as ControlKind
from control.fleet.snapshot import DestinationEntry as ControlEntry
from control.fleet.snapshot import Entity as ControlEntity
from control.fleet.snapshot import Snapshot as ControlSnapshot
from control.fleet.snapshot import digest_of as control_digest_of
from control.rpc import snapshot_wire as control_wire
from edge import link_wire, snapshot_wire
from edge.link_state import Held, Identity, Observed, SealingKey, Status, VerifyingKey
from edge.seal.packing import Malformed
from edge.snapshot import Clash, DestinationEntry, DestinationKind, snapshot_of
from edge.snapshot_codec import pack_snapshot, unpack_snapshot
from tests.support.delivery_site import ACCOUNT, destination_id
from zentransfer.ids import EpochID, NodeID, ProcessName, Region
from zentransfer.limits import DESTINATION_SECRET_BYTES_MAX
from zentransfer.v1 import types_pb2

ENTRY = DestinationEntry(
    id=destination_id(1),
    version=3,
    account_id=ACCOUNT,
    kind=DestinationKind.S3,
    address="s3://desk/in",
    clash=Clash.KEEP_BOTH,
    endpoint="https://s3.example.com",
    store_region="auto",
    secret_kid="fr-2026-11",
    secret=b"sealed",
)
FOLDER = DestinationEntry(
    destination_id(2), 1, ACCOUNT, DestinationKind.FOLDER, "/srv/a", Clash.FAIL
)


def test_a_sealed_secret_is_kept_on_the_nodes_own_disk() -> None:
    kept = snapshot_of(Region.FR, 1, 5, [ENTRY, FOLDER])
    assert unpack_snapshot(pack_snapshot(kept)).content == kept.content


@pytest.mark.reaches("DESTINATION_SECRET_BYTES_MAX")
def test_a_sealed_secret_has_a_longest() -> None:
    longest = replace(ENTRY, secret=b"s" * DESTINATION_SECRET_BYTES_MAX)
    kept = snapshot_of(Region.FR, 1, 5, [longest])
    assert unpack_snapshot(pack_snapshot(kept)) == kept
    longer = replace(ENTRY, secret=b"s" * (DESTINATION_SECRET_BYTES_MAX + 1))
    with pytest.raises(Malformed):
        unpack_snapshot(pack_snapshot(snapshot_of(Region.FR, 1, 5, [longer])))


def test_what_control_sends_of_a_bucket_is_what_arrives() -> None:
    sent = ControlEntry(
        id=ENTRY.id,
        version=3,
        account_id=ACCOUNT,
        kind=ControlKind.S3,
        address=ENTRY.address,
        clash=ControlClash.KEEP_BOTH,
        endpoint=ENTRY.endpoint,
        store_region=ENTRY.store_region,
        secret_kid=ENTRY.secret_kid,
        secret=ENTRY.secret,
    )
    content = {(ControlEntity.DESTINATION, str(ENTRY.id)): sent}
    digest = control_digest_of(content)
    data = control_wire.serialised(ControlSnapshot(Region.FR, 1, 5, content, digest))
    found = snapshot_wire.snapshot(data)
    assert found.maybe_destination(ENTRY.id) == ENTRY
    assert found.digest == digest


def test_a_secret_does_not_show_itself() -> None:
    assert "sealed" not in repr(ENTRY)


def test_a_hello_has_the_key_of_who_opens_secrets() -> None:
    us = Identity(NodeID("fr-1"), ProcessName("delivery-0"), EpochID("ep_a"), "", "1")
    held = Held(destination_key=SealingKey("fr-2026-11", bytes(32)))
    told = link_wire.hello(us, Status(Observed.SERVING), 5, held).hello.destination_key
    assert (told.kid, told.public_key) == ("fr-2026-11", bytes(32))
    assert told.suite == types_pb2.KEY_SUITE_HPKE_X25519
    assert not link_wire.hello(us, Status(Observed.SERVING), 5).hello.HasField("destination_key")


def test_a_hello_has_the_key_of_who_signs_tickets() -> None:
    us = Identity(NodeID("fr-1"), ProcessName("ingest-0"), EpochID("ep_a"), "", "1")
    held = Held(ticket_key=VerifyingKey("fr-1", bytes(32)))
    told = link_wire.hello(us, Status(Observed.SERVING), 5, held).hello.ticket_key
    assert (told.kid, told.public_key) == ("fr-1", bytes(32))
    assert told.suite == types_pb2.KEY_SUITE_ED25519
    assert not link_wire.hello(us, Status(Observed.SERVING), 5).hello.HasField("ticket_key")
