from random import Random
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.accounts.destinations import Clash, DestinationKind
from control.accounts.model import AccountState, CredentialKind, Limits
from control.accounts.workflows import Condition, ConditionKind, Rule
from control.fleet.snapshot import (
    AccountEntry,
    Content,
    CredentialEntry,
    Delta,
    DestinationEntry,
    Entity,
    Entry,
    Knob,
    Snapshot,
    TicketKeyEntry,
    WorkflowEntry,
    digest_of,
    maybe_delta,
)
from control.rpc import snapshot_wire as sent
from edge import snapshot as ours
from edge import snapshot_wire
from zentransfer.errors import Code, Error
from zentransfer.ids import IdMaker, Kind, Region
from zentransfer.v1 import snapshot_pb2, types_pb2

WORDS = st.text(max_size=10)
NUMBERS = st.integers(0, 2**31)


def named(kind: Kind) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).map(lambda seed: IdMaker(Random(seed).randbytes).make(kind))


DESTINATIONS = st.lists(named(Kind.DESTINATION), max_size=3, unique=True).map(tuple)
RULES = st.lists(
    st.builds(
        Rule,
        conditions=st.lists(
            st.builds(Condition, st.sampled_from(ConditionKind), WORDS, st.booleans()), max_size=2
        ).map(tuple),
        destinations=DESTINATIONS,
        priority=st.booleans(),
    ),
    max_size=2,
).map(tuple)
ENTRIES: st.SearchStrategy[Entry] = st.one_of(
    st.builds(Knob, id=WORDS, value=st.integers(-(2**40), 2**40)),
    st.builds(
        AccountEntry,
        id=named(Kind.ACCOUNT),
        state=st.sampled_from(AccountState),
        limits=st.builds(Limits, *[NUMBERS] * 8),
        pin=st.none() | st.sampled_from(Region),
        epoch=NUMBERS,
        name_kid=WORDS,
        name_key=st.binary(max_size=40),
    ),
    st.builds(
        CredentialEntry,
        id=named(Kind.CREDENTIAL),
        name=WORDS,
        account_id=named(Kind.ACCOUNT),
        kind=st.sampled_from(CredentialKind),
        verifier=st.binary(max_size=40),
        pepper_kid=WORDS,
        workflow_id=named(Kind.WORKFLOW),
        folder=WORDS,
        not_after_ms=st.none() | st.integers(1, 2**42),
        require_tls=st.booleans(),
        epoch=NUMBERS,
    ),
    st.builds(
        WorkflowEntry,
        id=named(Kind.WORKFLOW),
        version=NUMBERS,
        account_id=named(Kind.ACCOUNT),
        rules=RULES,
        destinations=DESTINATIONS,
    ),
    st.builds(
        DestinationEntry,
        id=named(Kind.DESTINATION),
        version=NUMBERS,
        account_id=named(Kind.ACCOUNT),
        kind=st.sampled_from(DestinationKind),
        address=WORDS,
        clash=st.sampled_from(Clash),
    ),
    st.builds(
        TicketKeyEntry,
        id=WORDS,
        region=st.sampled_from(Region),
        key=st.binary(min_size=32, max_size=32),
        not_before_ms=NUMBERS,
        not_after_ms=st.none() | st.integers(1, 2**31),
    ),
)
KINDS = {
    Knob: Entity.KNOB,
    AccountEntry: Entity.ACCOUNT,
    CredentialEntry: Entity.CREDENTIAL,
    WorkflowEntry: Entity.WORKFLOW,
    DestinationEntry: Entity.DESTINATION,
    TicketKeyEntry: Entity.TICKET_KEY,
}
CONTENTS = st.lists(ENTRIES, max_size=6).map(
    lambda entries: MappingProxyType({(KINDS[type(one)], one.id): one for one in entries})
)


def snapshot(content: Content, version: int = 1) -> Snapshot:
    return Snapshot(Region.FR, version, 77 + version, content, digest_of(content))


def over_the_wire(of: Delta) -> ours.Delta:
    wire = sent.delta(of, "n").SerializeToString()
    return snapshot_wire.delta(snapshot_pb2.Delta.FromString(wire), Region.FR)


@given(CONTENTS)
def test_a_snapshot_that_was_fetched_is_the_one_that_control_meant(content: Content) -> None:
    there = snapshot(content, 9)
    here = snapshot_wire.snapshot(sent.serialised(there))
    assert here.digest == there.digest
    assert (here.region, here.version, here.created_ms) == (Region.FR, 9, 86)
    assert len(here.content) == len(content)


@given(CONTENTS, CONTENTS)
def test_a_delta_gives_the_same_content_on_both_sides(before: Content, after: Content) -> None:
    old, new = snapshot(before, 1), snapshot(after, 2)
    delta = maybe_delta(old, new)
    assert delta is not None
    here = ours.applied(snapshot_wire.snapshot(sent.serialised(old)), over_the_wire(delta))
    assert (here.version, here.digest, here.created_ms) == (2, new.digest, new.created_ms)


@given(CONTENTS)
def test_the_serialised_form_is_the_same_whatever_the_order(content: Content) -> None:
    turned = MappingProxyType(dict(reversed(list(content.items()))))
    assert sent.serialised(snapshot(content)) == sent.serialised(snapshot(turned))


def whole(**fields: Any) -> bytes:
    return snapshot_pb2.Snapshot(
        version=3, region=types_pb2.REGION_FR, **fields
    ).SerializeToString()


ACCOUNT = IdMaker(Random(1).randbytes).make(Kind.ACCOUNT)
WORKFLOW = IdMaker(Random(1).randbytes).make(Kind.WORKFLOW)


def test_an_entry_with_a_word_of_a_newer_release_is_left_out() -> None:
    newer: Any = 99
    wire = whole(accounts=[snapshot_pb2.Account(id=ACCOUNT, state=newer)])
    assert snapshot_wire.snapshot(wire).content == {}
    change = snapshot_pb2.Change(account=snapshot_pb2.Account(id=ACCOUNT, state=newer))
    other = snapshot_pb2.Change(geo_table=snapshot_pb2.GeoTable(version=1))
    removal = snapshot_pb2.Change(remove=snapshot_pb2.Removal(entity=newer, id="x"))
    message = snapshot_pb2.Delta(changes=[change, other, removal, snapshot_pb2.Change()])
    delta = snapshot_wire.delta(message, Region.FR)
    assert (delta.puts, delta.removals) == ((), ())


def test_a_rule_with_a_condition_of_a_newer_release_stays_and_never_holds() -> None:
    newer: Any = 99
    rule = snapshot_pb2.Rule(conditions=[snapshot_pb2.Condition(kind=newer, pattern="x")])
    message = snapshot_pb2.Workflow(id=WORKFLOW, account_id=ACCOUNT, rules=[rule])
    found = snapshot_wire.snapshot(whole(workflows=[message]))
    (workflow,) = found.content.values()
    assert isinstance(workflow, ours.WorkflowEntry)
    ((condition,),) = (one.conditions for one in workflow.rules)
    assert condition == ours.Condition(ours.ConditionKind.NAME, "*", negated=True)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff", Code.INVALID),
        (b"", Code.MISDIRECTED),
        (
            whole(accounts=[snapshot_pb2.Account(id="nina", state="ACCOUNT_STATE_ACTIVE")]),
            Code.INVALID,
        ),
    ],
    ids=["unreadable", "of no region", "an id that is none"],
)
def test_what_is_no_snapshot_is_refused(data: bytes, code: Code) -> None:
    with pytest.raises(Error) as refused:
        snapshot_wire.snapshot(data)
    assert refused.value.code is code


def test_a_credential_keeps_the_name_that_is_looked_up() -> None:
    message = snapshot_pb2.Credential(
        id=IdMaker(Random(1).randbytes).make(Kind.CREDENTIAL),
        name="abcdefgh",
        account_id=ACCOUNT,
        workflow_id=WORKFLOW,
        kind=snapshot_pb2.CREDENTIAL_KIND_API,
    )
    assert list(snapshot_wire.snapshot(whole(credentials=[message])).names) == ["abcdefgh"]


@pytest.mark.parametrize(
    "change",
    [
        {"region": types_pb2.REGION_UNSPECIFIED},
        {"key": types_pb2.PublicKey(kid="sg-1", suite=types_pb2.KEY_SUITE_HPKE_P256)},
    ],
)
def test_a_ticket_key_that_a_newer_release_words_is_left_out(change: dict[str, Any]) -> None:
    key = types_pb2.PublicKey(kid="sg-1", suite=types_pb2.KEY_SUITE_ED25519, public_key=bytes(32))
    given: dict[str, Any] = {"key": key, "region": types_pb2.REGION_SG}
    for fields, count in ((given, 1), (given | change, 0)):
        message = snapshot_pb2.Snapshot(
            region=types_pb2.REGION_FR, ticket_keys=[snapshot_pb2.TicketKey(**fields)]
        )
        assert len(snapshot_wire.snapshot(message.SerializeToString()).content) == count
