from typing import Any

import pytest

from control.fleet.region_keys import RegionKey
from control.rpc import fleet_wire
from tests.control.test_rpc_fleet import hello
from zentransfer.errors import Code, Error
from zentransfer.ids import Region, ticket_kid
from zentransfer.v1 import types_pb2

KEY = bytes(range(32))
KID = ticket_kid(Region.FR, KEY)
SUITE = types_pb2.KEY_SUITE_HPKE_X25519


def told(name: str = "fr-1/delivery-0", **fields: Any) -> RegionKey | None:
    given: dict[str, Any] = {"kid": "fr-2026-11", "suite": SUITE, "public_key": KEY}
    key = types_pb2.PublicKey(**given | fields)
    return fleet_wire.introduced(hello(name, destination_key=key), None).destination_key


def test_a_delivery_process_tells_the_key_of_its_region() -> None:
    assert told() == RegionKey("fr-2026-11", KEY)
    assert fleet_wire.introduced(hello("fr-1/delivery-0"), None).destination_key is None


def test_nobody_else_does_and_a_newer_suite_is_passed_over() -> None:
    assert told("fr-1/ingest-0") is None
    assert told(suite=types_pb2.KEY_SUITE_HPKE_P256) is None


@pytest.mark.parametrize(
    "fields", [{"public_key": KEY[:-1]}, {"public_key": b""}, {"kid": ""}, {"kid": "k" * 65}]
)
def test_what_is_no_key_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Error) as caught:
        told(**fields)
    assert caught.value.code is Code.INVALID


def signs(name: str = "fr-1/ingest-0", **fields: Any) -> RegionKey | None:
    given: dict[str, Any] = {
        "kid": KID,
        "suite": types_pb2.KEY_SUITE_ED25519,
        "public_key": KEY,
    }
    key = types_pb2.PublicKey(**given | fields)
    return fleet_wire.introduced(hello(name, ticket_key=key), None).ticket_key


def test_an_ingest_process_tells_what_verifies_its_tickets_and_nobody_else_does() -> None:
    assert signs() == RegionKey(KID, KEY)
    assert signs("fr-1/delivery-0") is None
    assert signs(suite=SUITE) is None
    assert fleet_wire.introduced(hello("fr-1/ingest-0"), None).ticket_key is None
    with pytest.raises(Error):
        signs(public_key=KEY[:-1])


def test_a_ticket_key_bears_the_name_of_its_region_and_of_itself() -> None:
    others = (ticket_kid(Region.US, KEY), ticket_kid(Region.FR, bytes(32)), "fr-1", KID.upper())
    for kid in others:
        with pytest.raises(Error) as caught:
            signs(kid=kid)
        assert caught.value.code is Code.INVALID
