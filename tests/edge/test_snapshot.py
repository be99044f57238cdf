import dataclasses
from collections.abc import Sequence
from enum import StrEnum
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.accounts import destinations, workflows
from control.accounts import model as accounts
from control.canonical import canonical as controls_canonical
from control.fleet import snapshot as control
from edge import snapshot as edge
from edge.seal.packing import Malformed, Packable, pack, unpack
from edge.snapshot import (
    Condition,
    ConditionKind,
    Delta,
    Entry,
    Key,
    Knob,
    Limits,
    Rule,
    Snapshot,
    TicketKeyEntry,
    WorkflowEntry,
    applied,
    canonical,
    digest_of,
    snapshot_of,
    succeeding,
)
from edge.snapshot_codec import pack_snapshot, unpack_snapshot
from tests.support.snapshots import Customer
from zentransfer.errors import Code, Error
from zentransfer.ids import CredentialName, DestinationID, Region, WorkflowID
from zentransfer.limits import SNAPSHOT_ENTRIES_MAX, SNAPSHOT_PAST_WORKFLOWS_MAX

CUSTOMERS = [Customer(seed) for seed in range(4)]
RULES = (
    Rule(
        (
            Condition(ConditionKind.NAME, "*.jpg"),
            Condition(ConditionKind.FOLDER, "raw*", negated=True),
        ),
        (DestinationID("ds_a"), DestinationID("ds_b")),
        priority=True,
    ),
    Rule((Condition(ConditionKind.MEDIA_TYPE, "image/*"),), ()),
)


def pool() -> list[Entry]:
    """Entries to draw from; several have one id and differ."""
    found: list[Entry] = [Knob("uploads_in_flight_max", 5), Knob("uploads_in_flight_max", 6)]
    found += [TicketKeyEntry("sg-1", Region.SG, bytes([key]) * 32) for key in range(2)]
    found.append(TicketKeyEntry("us-1", Region.US, bytes(32), 5, 7))
    for customer in CUSTOMERS:
        found += customer.entries()
        found += [customer.workflow(version) for version in (2, 3)]
        found.append(dataclasses.replace(customer.workflow(4), rules=RULES))
        found.append(dataclasses.replace(customer.account(), limits=Limits(upload_bytes_max=9)))
        found.append(dataclasses.replace(customer.credential(), not_after_ms=7, folder="a/b"))
    return found


ENTRIES = st.lists(st.sampled_from(pool()), max_size=30)


def key_of(entry: Entry) -> Key:
    return next(iter(snapshot_of(Region.FR, 1, 0, [entry]).content))


def delta(old: Snapshot, new: Snapshot) -> Delta:
    puts = tuple(e for k, e in new.content.items() if old.content.get(k) != e)
    removals = tuple(key for key in old.content if key not in new.content)
    return Delta(new.region, old.version, new.version, new.created_ms, puts, removals, new.digest)


@given(ENTRIES, ENTRIES)
def test_a_delta_leads_from_any_content_to_any_other(
    before: Sequence[Entry], after: Sequence[Entry]
) -> None:
    old = snapshot_of(Region.FR, 1, 10, before)
    new = snapshot_of(Region.FR, 2, 20, after)
    reached = applied(old, delta(old, new))
    assert dataclasses.replace(reached, past=()) == new
    assert old == snapshot_of(Region.FR, 1, 10, before), "the old one is as it was"


@given(ENTRIES, st.randoms(use_true_random=False))
def test_the_digest_knows_no_order(entries: list[Entry], random: Random) -> None:
    whole = list({key_of(entry): entry for entry in entries}.values())
    shuffled = list(whole)
    random.shuffle(shuffled)
    assert (
        snapshot_of(Region.FR, 1, 0, whole).digest == snapshot_of(Region.FR, 1, 0, shuffled).digest
    )


@given(ENTRIES, ENTRIES)
def test_two_contents_with_one_digest_are_one(one: list[Entry], other: list[Entry]) -> None:
    left, right = snapshot_of(Region.FR, 1, 0, one), snapshot_of(Region.FR, 1, 0, other)
    assert (left.digest == right.digest) == (left.content == right.content)


@given(ENTRIES, ENTRIES)
def test_a_snapshot_comes_back_from_its_bytes(entries: list[Entry], past: list[Entry]) -> None:
    workflows = [entry for entry in past if isinstance(entry, WorkflowEntry)]
    snapshot = snapshot_of(Region.SG, 7, 1_000, entries, workflows)
    assert unpack_snapshot(pack_snapshot(snapshot)) == snapshot


@given(ENTRIES, st.data())
def test_broken_bytes_are_refused(entries: list[Entry], data: st.DataObject) -> None:
    snapshot = snapshot_of(Region.FR, 1, 0, entries)
    packed = bytearray(pack_snapshot(snapshot))
    place = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(Malformed):
        unpack_snapshot(bytes(packed[:place]))
    packed[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = unpack_snapshot(bytes(packed))
    except Malformed:
        return
    assert found.content == snapshot.content, "only the head may be another, never the content"


def test_a_delta_for_another_version_or_region_is_refused() -> None:
    old = CUSTOMERS[0].snapshot(1)
    for change in ({"from_version": 2}, {"region": Region.US}):
        wrong = dataclasses.replace(delta(old, CUSTOMERS[0].snapshot(3)), **change)
        with pytest.raises(Error) as raised:
            applied(old, wrong)
        assert raised.value.code is Code.VERSION_MISMATCH


def test_a_delta_that_does_not_give_what_it_promises_is_refused() -> None:
    old = CUSTOMERS[0].snapshot(1)
    right = delta(old, CUSTOMERS[0].snapshot(2, Knob("x", 1)))
    with pytest.raises(Error) as raised:
        applied(old, dataclasses.replace(right, puts=()))
    assert raised.value.code is Code.DAMAGED
    assert applied(old, right).version == 2


def test_a_workflow_is_known_in_the_version_that_an_upload_bears() -> None:
    customer = CUSTOMERS[0]
    first = customer.snapshot(1)
    second = applied(first, delta(first, customer.snapshot(2, customer.workflow(2))))
    gone = snapshot_of(Region.FR, 3, 30, [customer.account()])
    third = succeeding(second, gone)
    assert second.maybe_workflow(customer.workflow_id) == customer.workflow(2)
    assert second.maybe_workflow(customer.workflow_id, 1) == customer.workflow(1)
    assert third.maybe_workflow(customer.workflow_id) is None
    assert third.maybe_workflow(customer.workflow_id, 2) == customer.workflow(2)
    assert third.maybe_workflow(customer.workflow_id, 1) == customer.workflow(1)
    assert third.maybe_workflow(customer.workflow_id, 9) is None
    assert third.digest == gone.digest, "what is past is no content"


@pytest.mark.reaches("SNAPSHOT_PAST_WORKFLOWS_MAX")
def test_the_oldest_past_workflows_are_forgotten() -> None:
    customer = CUSTOMERS[0]
    snapshot = customer.snapshot(1)
    past = [customer.workflow(version) for version in range(2, SNAPSHOT_PAST_WORKFLOWS_MAX + 2)]
    crowded = dataclasses.replace(snapshot, past=tuple(past))
    after = succeeding(crowded, snapshot_of(Region.FR, 2, 0, []))
    assert len(after.past) == SNAPSHOT_PAST_WORKFLOWS_MAX
    assert after.past[-1] == customer.workflow(1)
    assert after.past[0] == customer.workflow(3)


@pytest.mark.reaches("SNAPSHOT_ENTRIES_MAX")
def test_a_list_of_a_snapshot_has_a_limit() -> None:
    lists = ("accounts", "credentials", "workflows", "destinations", "past", "knobs")
    fields: dict[str, Packable] = {name: [] for name in lists}
    head: dict[str, Packable] = {"region": "fr", "version": 1, "created_ms": 0}
    text = pack({**head, "digest": bytes(32), **fields})
    knobs = text.index(b"\xa5knobs") + 6
    count = SNAPSHOT_ENTRIES_MAX + 1
    crowd = text[:knobs] + b"\xdd" + count.to_bytes(4, "big") + b"\x90" * count + text[knobs + 1 :]
    assert len(unpack(text).names()) == len(unpack(crowd).names())
    with pytest.raises(Malformed, match="too much"):
        unpack_snapshot(b"ZTSNP\x01" + crowd)


def test_what_is_looked_up_is_found() -> None:
    customer, other = CUSTOMERS[:2]
    snapshot = customer.snapshot(1, Knob("upload_bytes_max", 9))
    assert snapshot.names[customer.shown.name] == customer.credential()
    assert snapshot.maybe_credential(customer.credential_id) == customer.credential()
    assert snapshot.maybe_account(customer.account_id) == customer.account()
    assert snapshot.maybe_destination(customer.destination_id) == customer.destination()
    assert snapshot.maybe_account(other.account_id) is None
    key = TicketKeyEntry("sg-1", Region.SG, bytes(32))
    assert customer.snapshot(1, key).maybe_ticket_key("sg-1") == key
    assert snapshot.maybe_ticket_key("sg-1") is None
    assert CredentialName("nobody22") not in snapshot.names
    assert snapshot.maybe_workflow(WorkflowID("wf_x")) is None
    assert (snapshot.knob("upload_bytes_max", 1), snapshot.knob("other", 1)) == (9, 1)
    assert snapshot.pepper_kids == {customer.pepper.kid}


def test_a_verifier_is_not_shown() -> None:
    assert "verifier" not in repr(CUSTOMERS[0].credential())


# Control forms the digest of the same content by itself; these keep the two alike.

THEIRS = {
    edge.Knob: control.Knob,
    edge.AccountEntry: control.AccountEntry,
    edge.CredentialEntry: control.CredentialEntry,
    edge.WorkflowEntry: control.WorkflowEntry,
    edge.DestinationEntry: control.DestinationEntry,
    edge.TicketKeyEntry: control.TicketKeyEntry,
    edge.Limits: accounts.Limits,
    edge.Rule: workflows.Rule,
    edge.Condition: workflows.Condition,
}


def theirs(value: object) -> object:
    """Return *value* as control holds it."""
    if isinstance(value, tuple):
        return tuple(theirs(item) for item in value)
    kind = THEIRS.get(type(value))
    if kind is None:
        return value
    names = [field.name for field in dataclasses.fields(kind)]
    return kind(**{name: theirs(getattr(value, name)) for name in names})


@pytest.mark.parametrize("ours", THEIRS, ids=lambda kind: kind.__name__)
def test_control_has_the_same_fields(ours: type) -> None:
    mine, other = dataclasses.fields(ours), dataclasses.fields(THEIRS[ours])
    assert ours.__name__ == THEIRS[ours].__name__
    assert {(one.name, one.default) for one in mine} == {(one.name, one.default) for one in other}


@pytest.mark.parametrize(
    ("ours", "others"),
    [
        (edge.AccountState, accounts.AccountState),
        (edge.CredentialKind, accounts.CredentialKind),
        (edge.DestinationKind, destinations.DestinationKind),
        (edge.Clash, destinations.Clash),
        (edge.Entity, control.Entity),
    ],
)
def test_control_knows_the_same_words(ours: type[StrEnum], others: type[StrEnum]) -> None:
    assert [str(word) for word in ours] == [str(word) for word in others]


@given(ENTRIES)
def test_control_forms_the_same_digest(entries: list[Entry]) -> None:
    for entry in entries:
        assert controls_canonical(theirs(entry)) == canonical(entry)
    ours = snapshot_of(Region.FR, 1, 0, entries)
    content = {
        (control.Entity(entity), name): theirs(entry)
        for (entity, name), entry in ours.content.items()
    }
    assert control.digest_of(content) == digest_of(ours.content)  # type: ignore[arg-type]
