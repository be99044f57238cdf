from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.accounts.model import Account, AccountState
from control.canonical import canonical
from control.fleet.snapshot import (
    AccountEntry,
    Content,
    CredentialEntry,
    Delta,
    Entity,
    Knob,
    Snapshot,
    TicketKeyEntry,
    Truth,
    WorkflowEntry,
    applied,
    content_for,
    digest_of,
    maybe_delta,
)
from tests.control.builders import NOW_MS, account, credential, destination, workflow
from zentransfer.errors import Code, Error
from zentransfer.ids import Region

CANARY = "canary nina"


def truth(*accounts: Account, knobs: tuple[Knob, ...] = ()) -> Truth:
    """Return all that is known of *accounts*: each has a destination, workflow and credential."""
    desks = [destination(one, CANARY) for one in accounts]
    flows = [workflow(one, CANARY, desk) for one, desk in zip(accounts, desks, strict=True)]
    credentials = [
        credential(flow, f"name{number:04}", label=CANARY, inner_sealed=CANARY.encode())
        for number, flow in enumerate(flows)
    ]
    return Truth(
        accounts=accounts,
        credentials=credentials,
        workflows=flows,
        destinations=[replace(one, address="/srv/desk") for one in desks],
        name_keys={one.id: ("kid", bytes(32)) for one in accounts},
        verifiers={one.id: one.id.encode() for one in credentials},
        pepper_kid="pepper",
        knobs=knobs,
    )


def snapshot(content: Content, version: int = 1, region: Region = Region.FR) -> Snapshot:
    return Snapshot(region, version, NOW_MS, content, digest_of(content))


NINA, OLA = account("nina"), account("ola")


def test_a_region_gets_what_its_nodes_need() -> None:
    key = TicketKeyEntry("sg-1", Region.SG, bytes(32))
    known = replace(truth(NINA, knobs=(Knob("rate_max", 3),)), ticket_keys=(key,))
    made = snapshot(content_for(Region.FR, known))
    assert made.entries(Entity.TICKET_KEY) == [key], "of other regions too"
    assert {entity: len(made.entries(entity)) for entity in Entity} == dict.fromkeys(Entity, 1)
    (one,) = made.entries(Entity.CREDENTIAL)
    assert isinstance(one, CredentialEntry)
    assert (one.name, one.verifier, one.pepper_kid) == ("name0000", one.id.encode(), "pepper")
    (owner,) = made.entries(Entity.ACCOUNT)
    assert isinstance(owner, AccountEntry)
    assert (owner.name_kid, owner.name_key) == ("kid", bytes(32))


def test_a_region_gets_nothing_of_an_account_that_is_pinned_elsewhere() -> None:
    pinned = truth(replace(NINA, pin=Region.SG), OLA)
    for region in Region:
        content = content_for(region, pinned)
        owners = {
            entry.account_id
            for entry in content.values()
            if not isinstance(entry, AccountEntry | Knob | TicketKeyEntry)
        }
        expected = {NINA.id, OLA.id} if region is Region.SG else {OLA.id}
        assert owners == expected
        assert {key[1] for key in content if key[0] is Entity.ACCOUNT} == expected


def test_nothing_that_people_wrote_travels() -> None:
    content = content_for(Region.FR, truth(NINA, OLA))
    kept = b"".join(canonical(entry) for entry in content.values())
    assert CANARY.encode() not in kept
    assert CANARY.encode().hex().encode() not in kept
    assert b"abel" not in kept
    assert b"inner" not in kept


@pytest.mark.parametrize(
    "changed",
    [
        {"epoch": 2},
        {"state": AccountState.CLOSED},
    ],
)
def test_credentials_of_an_ended_account_are_left_out(changed: dict[str, object]) -> None:
    content = content_for(Region.FR, truth(replace(NINA, **changed)))  # type: ignore[arg-type] # either field
    assert [key for key in content if key[0] is Entity.CREDENTIAL] == []
    assert [key for key in content if key[0] is Entity.ACCOUNT] != []


def test_an_account_whose_key_is_destroyed_is_left_out() -> None:
    content = content_for(Region.FR, replace(truth(NINA), name_keys={}))
    assert content == {}


def test_a_revoked_credential_and_one_without_verifier_are_left_out() -> None:
    known = truth(NINA)
    (one,) = known.credentials
    for less in (
        replace(known, verifiers={}),
        replace(known, credentials=[replace(one, revoked_ms=1)]),
    ):
        content = content_for(Region.FR, less)
        assert [key for key in content if key[0] is Entity.CREDENTIAL] == []


ENTRIES = st.one_of(
    st.builds(Knob, st.sampled_from("abcd"), st.integers(0, 3)),
    st.builds(
        WorkflowEntry,
        st.sampled_from(("wf_a", "wf_b", "wf_c")),
        st.integers(1, 3),
        st.just("ac_a"),
        st.just(()),
        st.lists(st.sampled_from(("ds_a", "ds_b")), max_size=2).map(tuple),
    ),
)
KINDS = {Knob: Entity.KNOB, WorkflowEntry: Entity.WORKFLOW}
CONTENTS = st.lists(ENTRIES, max_size=8).map(
    lambda entries: MappingProxyType({(KINDS[type(one)], one.id): one for one in entries})
)


@settings(max_examples=50)
@given(CONTENTS, CONTENTS)
def test_a_delta_turns_the_old_into_the_new(before: Content, after: Content) -> None:
    old, new = snapshot(before), snapshot(after, version=2)
    delta = maybe_delta(old, new)
    assert delta is not None
    assert applied(old, delta) == new
    same = {key for key in before if before[key] == after.get(key)}
    touched = {(KINDS[type(one)], one.id) for one in delta.puts} | set(delta.removals)
    assert not same & touched, "a delta holds changes only"


@settings(max_examples=30)
@given(st.lists(CONTENTS, min_size=2, max_size=4))
def test_deltas_one_after_the_other_lead_where_one_leads(contents: list[Content]) -> None:
    versions = [snapshot(content, number) for number, content in enumerate(contents, 1)]
    walked = versions[0]
    for following in versions[1:]:
        delta = maybe_delta(walked, following)
        assert delta is not None
        walked = applied(walked, delta)
    straight = maybe_delta(versions[0], versions[-1])
    assert straight is not None
    assert applied(versions[0], straight) == walked == versions[-1]


@settings(max_examples=50)
@given(CONTENTS, CONTENTS, CONTENTS)
def test_a_delta_for_something_else_is_refused(one: Content, two: Content, other: Content) -> None:
    old, new = snapshot(one), snapshot(two, version=2)
    delta = maybe_delta(old, new)
    assert delta is not None
    for held in (snapshot(one, 3), snapshot(one, 1, Region.US)):
        assert refused(held, delta) is Code.VERSION_MISMATCH
    forged = replace(delta, puts=(*delta.puts, Knob("forged", 1)))
    assert refused(old, forged) is Code.DAMAGED
    result = None if other == one else refused(snapshot(other), delta)
    assert result in (None, Code.DAMAGED), "a wrong base either gives the same content or is seen"


def refused(held: Snapshot, delta: Delta) -> Code | None:
    try:
        applied(held, delta)
    except Error as wrong:
        return wrong.code
    return None


def test_no_delta_leads_back_or_to_another_region() -> None:
    one, two = snapshot({}), snapshot({}, version=2)
    assert maybe_delta(two, one) is None
    assert maybe_delta(one, one) is None
    assert maybe_delta(one, snapshot({}, 2, Region.SG)) is None


@given(CONTENTS, CONTENTS)
def test_a_digest_is_of_one_content(one: Content, other: Content) -> None:
    assert (digest_of(one) == digest_of(other)) == (one == other)


def test_the_digest_of_one_content_is_this_for_ever() -> None:
    # Nodes form the same digest by their own code: who changes one side breaks every delta.
    everything = truth(replace(NINA, pin=Region.FR), knobs=(Knob("rate_max", 3),))
    digest = digest_of(content_for(Region.FR, everything)).hex()
    assert digest == "07ab978265c801886eb4d45cc23b07fa1cf431c7367bc278ae48b4ddfaea7f1a"
