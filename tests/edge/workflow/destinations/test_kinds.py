from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge.guard import Guard, Policy
from edge.guard_proxy import Proxy
from edge.snapshot import Clash, DestinationEntry, DestinationKind
from edge.workflow.destinations.base import DestinationError, Fault
from edge.workflow.destinations.folder import FolderDestination
from edge.workflow.destinations.kinds import Kinds, Network
from edge.workflow.destinations.s3 import S3Destination
from edge.workflow.destinations.secrets import Secrets
from tests.support.delivery_site import ACCOUNT, destination_id
from zentransfer.errors import Code
from zentransfer.ids import Region
from zentransfer.limits import DESTINATIONS_OPEN_MAX
from zentransfer.sealed_secret import Bound, S3Secret, packed, seal

PRIVATE = X25519PrivateKey.from_private_bytes(bytes(range(32)))


def entry(
    number: int = 0, version: int = 1, kind: DestinationKind = DestinationKind.FOLDER
) -> DestinationEntry:
    return DestinationEntry(
        destination_id(number % 8), version, ACCOUNT, kind, "/srv/in", Clash.KEEP_BOTH
    )


def bucket_entry(**changes: Any) -> DestinationEntry:
    made = DestinationEntry(
        id=destination_id(1),
        version=1,
        account_id=ACCOUNT,
        kind=DestinationKind.S3,
        address="s3://desk/in",
        clash=Clash.KEEP_BOTH,
        endpoint="https://s3.example.com",
        store_region="auto",
        secret_kid="fr-1",
        secret=seal(
            PRIVATE.public_key().public_bytes_raw(),
            Bound(Region.FR, ACCOUNT, destination_id(1), 1),
            packed(S3Secret("id", "key")),
        ),
    )
    return replace(made, **changes)


def network() -> Network:
    def private_key(kid: str) -> X25519PrivateKey:
        if kid != "fr-1":
            raise FileNotFoundError
        return PRIVATE

    async def never(_: str) -> list[str]:
        raise AssertionError

    return Network(
        Secrets(Region.FR, private_key), Proxy(Guard(Policy(), never), Random(1).randbytes)
    )


def test_a_bucket_is_made_with_its_secret() -> None:
    kinds = Kinds([], network=network())
    made = kinds.get(bucket_entry())
    assert isinstance(made, S3Destination)
    assert kinds.get(bucket_entry()) is made
    assert network().secrets.s3(bucket_entry()) == S3Secret("id", "key")
    kinds.close()


@pytest.mark.parametrize(
    ("changes", "code", "fault"),
    [
        ({"secret": b""}, Code.UNAVAILABLE, Fault.TEMPORARY),
        ({"secret_kid": "fr-2"}, Code.DAMAGED, Fault.DESTINATION),
        ({"version": 2}, Code.DAMAGED, Fault.DESTINATION),
        ({"id": destination_id(2)}, Code.DAMAGED, Fault.DESTINATION),
        ({"address": "/srv"}, Code.INVALID, Fault.DESTINATION),
        ({"address": "s3://desk/.."}, Code.INVALID, Fault.DESTINATION),
        ({"endpoint": ""}, Code.INVALID, Fault.DESTINATION),
        ({"endpoint": "https://a:x"}, Code.INVALID, Fault.DESTINATION),
    ],
)
def test_a_bucket_that_cannot_be_says_why_and_may_be_later(
    changes: dict[str, Any], code: Code, fault: Fault
) -> None:
    kinds = Kinds([], network=network())
    for _ in range(2):
        with pytest.raises(DestinationError) as refused:
            kinds.get(bucket_entry(**changes))
        assert (refused.value.code, refused.value.fault) == (code, fault)
    kinds.close()


def test_a_destination_is_made_once_and_anew_when_its_owner_changes_it() -> None:
    kinds = Kinds([Path("/srv")])
    first = kinds.get(entry())
    assert isinstance(first, FolderDestination)
    assert kinds.get(entry()) is first
    assert kinds.get(entry(version=2)) is not first
    kinds.close()
    kinds.close()


@pytest.mark.parametrize("kind", sorted(set(DestinationKind) - {DestinationKind.FOLDER}))
def test_a_kind_that_is_not_offered_is_named(kind: DestinationKind) -> None:
    with pytest.raises(DestinationError, match=str(kind)) as refused:
        Kinds([]).get(entry(kind=kind))
    assert refused.value.fault is Fault.DESTINATION


@pytest.mark.reaches("DESTINATIONS_OPEN_MAX")
def test_so_many_destinations_are_kept_and_no_more() -> None:
    kinds = Kinds([Path("/srv")])
    first = kinds.get(entry(version=1))
    for version in range(2, DESTINATIONS_OPEN_MAX + 1):
        kinds.get(entry(version=version))
    assert kinds.get(entry(version=1)) is first
    kinds.get(entry(version=DESTINATIONS_OPEN_MAX + 1))  # puts the second one out
    assert kinds.get(entry(version=1)) is first
    assert len(kinds._open) == DESTINATIONS_OPEN_MAX
    assert (destination_id(0), 2) not in kinds._open
    kinds.close()
