import dataclasses
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.admission import (
    Admit,
    Load,
    Refuse,
    Request,
    admit,
    admit_again,
    standing,
    still_admitted,
)
from edge.snapshot import (
    AccountState,
    CredentialKind,
    Entity,
    Entry,
    Knob,
    Limits,
    Snapshot,
    snapshot_of,
)
from tests.support.snapshots import Customer
from zentransfer.credential import Pepper, Shown
from zentransfer.errors import Code
from zentransfer.ids import CredentialName, Region
from zentransfer.limits import (
    ADMISSION_RETRY_AFTER_S,
    FLUSH_WAIT_MAX_S,
    LOOP_LAG_MAX_S,
    OUTBOX_FACT_BYTES_MAX,
    UPLOAD_BYTES_MAX,
    UPLOADS_IN_FLIGHT_MAX,
    UPLOADS_PER_ACCOUNT_MAX,
)

CUSTOMER, OTHER = Customer(1), Customer(2)
SNAPSHOT = CUSTOMER.snapshot(1, *OTHER.entries())
ASKED = Request(CUSTOMER.shown, CredentialKind.API, 100, is_tls=False, now_ms=1_000_000)
FREE = Load(
    is_admitting=True,
    in_flight=0,
    in_flight_max=UPLOADS_IN_FLIGHT_MAX,
    of_account={},
    room_bytes=1 << 50,
    outbox_room_bytes=1 << 30,
)


def decide(
    request: Request = ASKED,
    load: Load = FREE,
    snapshot: Snapshot | None = SNAPSHOT,
    pepper: Pepper | None = CUSTOMER.pepper,
) -> Admit | Refuse:
    return admit(snapshot, pepper, request, load)


def refused(decided: Admit | Refuse) -> Code:
    assert isinstance(decided, Refuse)
    assert decided.error().code is decided.code
    return decided.code


def changed(entry: Entry, **fields: Any) -> Snapshot:
    return CUSTOMER.snapshot(2, dataclasses.replace(entry, **fields))


def without(entity: Entity) -> Snapshot:
    entries = [entry for key, entry in SNAPSHOT.content.items() if key[0] is not entity]
    return snapshot_of(Region.FR, 2, 0, entries)


def test_a_right_token_is_admitted_to_its_account_and_workflow() -> None:
    assert decide() == Admit(
        CUSTOMER.account(), CUSTOMER.credential(), CUSTOMER.workflow(), UPLOAD_BYTES_MAX
    )


@given(st.integers(0, 19), st.sampled_from("abcdefghijkmnpqrstuvwxyz23456789"))
def test_no_other_secret_is_right(place: int, char: str) -> None:
    secret = CUSTOMER.shown.secret
    other = secret[:place] + char + secret[place + 1 :]
    decided = decide(replace(ASKED, shown=Shown(CUSTOMER.shown.name, other)))
    assert isinstance(decided, Admit) == (other == secret)


WRONG: dict[str, Shown | None] = {
    "nothing": None,
    "an unknown name": Shown(CredentialName("nobody22"), CUSTOMER.shown.secret),
    "an unknown secret": Shown(CUSTOMER.shown.name, "a" * 20),
    "another's secret": Shown(CUSTOMER.shown.name, OTHER.shown.secret),
    "no name": Shown(CredentialName(""), ""),
}


@pytest.mark.parametrize("shown", WRONG.values(), ids=WRONG)
def test_all_that_is_wrong_is_refused_in_the_same_words(shown: Shown | None) -> None:
    assert decide(replace(ASKED, shown=shown)) == Refuse(Code.UNAUTHENTICATED)


class CountingPepper:
    """Counts how often a verifier is made."""

    kid = CUSTOMER.pepper.kid

    def __init__(self) -> None:
        self.made = 0

    @property
    def key(self) -> bytes:
        self.made += 1
        return CUSTOMER.pepper.key


def test_an_unknown_name_costs_the_same() -> None:
    for shown in (CUSTOMER.shown, *WRONG.values()):
        pepper = CountingPepper()
        decide(replace(ASKED, shown=shown), pepper=cast("Pepper", pepper))
        assert pepper.made == 1


SNAPSHOTS: dict[str, tuple[Callable[[], Snapshot], Code]] = {
    "closed": (
        lambda: changed(CUSTOMER.account(), state=AccountState.CLOSED),
        Code.UNAUTHENTICATED,
    ),
    "suspended": (
        lambda: changed(CUSTOMER.account(), state=AccountState.SUSPENDED),
        Code.FORBIDDEN,
    ),
    "epoch raised": (lambda: changed(CUSTOMER.account(), epoch=1), Code.UNAUTHENTICATED),
    "pinned elsewhere": (lambda: changed(CUSTOMER.account(), pin=Region.US), Code.MISDIRECTED),
    "over": (
        lambda: changed(CUSTOMER.credential(), not_after_ms=ASKED.now_ms),
        Code.UNAUTHENTICATED,
    ),
    "for cameras": (
        lambda: changed(CUSTOMER.credential(), kind=CredentialKind.FTP),
        Code.FORBIDDEN,
    ),
    "needs TLS": (lambda: changed(CUSTOMER.credential(), require_tls=True), Code.TLS_REQUIRED),
    "workflow gone": (lambda: without(Entity.WORKFLOW), Code.FORBIDDEN),
    "another's workflow": (
        lambda: changed(CUSTOMER.credential(), workflow_id=OTHER.workflow_id),
        Code.FORBIDDEN,
    ),
    "account gone": (lambda: without(Entity.ACCOUNT), Code.UNAUTHENTICATED),
    "revoked": (lambda: without(Entity.CREDENTIAL), Code.UNAUTHENTICATED),
    "too large for the plan": (
        lambda: changed(CUSTOMER.account(), limits=Limits(upload_bytes_max=99)),
        Code.TOO_LARGE,
    ),
    "too large for the node": (
        lambda: CUSTOMER.snapshot(2, Knob("upload_bytes_max", 99)),
        Code.TOO_LARGE,
    ),
}


@pytest.mark.parametrize(("snapshot", "code"), SNAPSHOTS.values(), ids=SNAPSHOTS)
def test_what_the_snapshot_does_not_allow_is_refused(
    snapshot: Callable[[], Snapshot], code: Code
) -> None:
    assert refused(decide(snapshot=snapshot())) is code


def test_what_is_pinned_here_ends_later_or_has_tls_is_admitted() -> None:
    for entry, fields in (
        (CUSTOMER.account(), {"pin": Region.FR}),
        (CUSTOMER.credential(), {"not_after_ms": ASKED.now_ms + 1}),
        (CUSTOMER.credential(), {"require_tls": True}),
    ):
        decided = decide(replace(ASKED, is_tls=True), snapshot=changed(entry, **fields))
        assert isinstance(decided, Admit)


LOADS: dict[str, tuple[Load, Code]] = {
    "draining": (replace(FREE, is_admitting=False), Code.DRAINING),
    "full": (replace(FREE, in_flight=UPLOADS_IN_FLIGHT_MAX), Code.OVERLOADED),
    "account full": (
        replace(FREE, of_account={CUSTOMER.account_id: UPLOADS_PER_ACCOUNT_MAX}),
        Code.RATE_LIMITED,
    ),
    "outbox full": (
        replace(FREE, in_flight=9, outbox_room_bytes=10 * OUTBOX_FACT_BYTES_MAX - 1),
        Code.OUTBOX_FULL,
    ),
    "disk full": (replace(FREE, room_bytes=100), Code.INSUFFICIENT_STORAGE),
}


@pytest.mark.reaches("UPLOADS_IN_FLIGHT_MAX", "UPLOADS_PER_ACCOUNT_MAX", "ADMISSION_RETRY_AFTER_S")
@pytest.mark.parametrize(("load", "code"), LOADS.values(), ids=LOADS)
def test_full_means_refused_with_a_time_to_come_back(load: Load, code: Code) -> None:
    decided = decide(load=load)
    assert refused(decided) is code
    assert isinstance(decided, Refuse)
    assert decided.error().retry_after_s == ADMISSION_RETRY_AFTER_S


def test_one_less_than_full_is_admitted() -> None:
    almost = Load(
        is_admitting=True,
        in_flight=8,
        in_flight_max=10,
        of_account={CUSTOMER.account_id: 1, OTHER.account_id: 7},
        room_bytes=101,
        outbox_room_bytes=10 * OUTBOX_FACT_BYTES_MAX,
    )
    snapshot = changed(CUSTOMER.account(), limits=Limits(uploads_in_flight_max=2))
    assert isinstance(decide(load=almost, snapshot=snapshot), Admit)
    knobbed = CUSTOMER.snapshot(2, Knob("uploads_in_flight_max", 1))
    assert refused(decide(load=almost, snapshot=knobbed)) is Code.RATE_LIMITED


def test_an_account_s_uploads_at_other_processes_count_too() -> None:
    def decided(here: int, there: int) -> Admit | Refuse:
        own = CUSTOMER.account_id
        load = replace(FREE, of_account={own: here}, elsewhere=lambda of: there * (of == own))
        snapshot = changed(CUSTOMER.account(), limits=Limits(uploads_in_flight_max=3))
        again = admit_again(snapshot, CUSTOMER.pepper, ASKED, load, adds=True)
        assert isinstance(again, Admit) == (here < 3), "what is resumed is not shed for others"
        return decide(load=load, snapshot=snapshot)

    assert isinstance(decided(1, 1), Admit)
    assert refused(decided(1, 2)) is Code.RATE_LIMITED
    assert refused(decided(0, 3)) is Code.RATE_LIMITED
    assert refused(decided(0, 9)) is Code.RATE_LIMITED
    assert refused(decided(3, 0)) is Code.RATE_LIMITED


def test_an_unknown_length_needs_some_room() -> None:
    asked = replace(ASKED, length=None)
    assert isinstance(decide(asked, replace(FREE, room_bytes=1)), Admit)
    assert refused(decide(asked, replace(FREE, room_bytes=0))) is Code.INSUFFICIENT_STORAGE


@pytest.mark.reaches("UPLOAD_BYTES_MAX")
def test_the_largest_upload_is_admitted_and_not_one_byte_more() -> None:
    assert isinstance(decide(replace(ASKED, length=UPLOAD_BYTES_MAX)), Admit)
    larger = replace(ASKED, length=UPLOAD_BYTES_MAX + 1)
    assert refused(decide(larger)) is Code.TOO_LARGE


@pytest.mark.parametrize("shown", [CUSTOMER.shown, None, WRONG["an unknown name"]])
def test_without_snapshot_or_pepper_everybody_is_asked_to_come_back(shown: Shown | None) -> None:
    asked = replace(ASKED, shown=shown)
    other = Pepper("another", bytes(32))
    for decided in (
        decide(asked, snapshot=None),
        decide(asked, pepper=None),
        decide(asked, pepper=other),
    ):
        assert refused(decided) is Code.CONTROL_UNREACHABLE


def again(snapshot: Snapshot) -> Admit | Refuse:
    admitted = decide()
    assert isinstance(admitted, Admit)
    return still_admitted(snapshot, admitted, ASKED.now_ms + 1)


def test_at_the_end_the_newest_workflow_counts() -> None:
    decided = again(CUSTOMER.snapshot(2, CUSTOMER.workflow(5)))
    assert isinstance(decided, Admit)
    assert decided.workflow.version == 5


def test_a_suspended_account_may_finish() -> None:
    assert isinstance(again(SNAPSHOTS["suspended"][0]()), Admit)


@pytest.mark.parametrize(
    "name", ["closed", "epoch raised", "over", "account gone", "revoked", "workflow gone"]
)
def test_what_is_void_by_the_end_is_refused_at_the_end(name: str) -> None:
    snapshot, code = SNAPSHOTS[name]
    assert refused(again(snapshot())) is code


def test_a_new_secret_under_the_old_name_voids_what_is_on_its_way() -> None:
    snapshot = changed(CUSTOMER.credential(), verifier=bytes(32))
    assert refused(again(snapshot)) is Code.UNAUTHENTICATED


def decide_again(
    request: Request = ASKED, load: Load = FREE, snapshot: Snapshot = SNAPSHOT, *, adds: bool = True
) -> Admit | Refuse:
    return admit_again(snapshot, CUSTOMER.pepper, request, load, adds=adds)


def test_a_request_for_an_upload_of_before_is_admitted_as_a_new_one() -> None:
    assert decide_again() == decide()
    assert refused(decide_again(replace(ASKED, shown=None))) is Code.UNAUTHENTICATED
    assert refused(decide_again(load=replace(FREE, is_admitting=False))) is Code.DRAINING
    assert refused(decide_again(load=replace(FREE, in_flight_max=0))) is Code.OVERLOADED
    assert refused(decide_again(replace(ASKED, kind=CredentialKind.FTP))) is Code.FORBIDDEN


def test_a_suspended_account_may_go_on_with_what_it_began() -> None:
    suspended = changed(CUSTOMER.account(), state=AccountState.SUSPENDED)
    assert isinstance(decide_again(snapshot=suspended), Admit)


@pytest.mark.parametrize(
    "full",
    [replace(FREE, room_bytes=0), replace(FREE, outbox_room_bytes=0)],
    ids=["disk", "outbox"],
)
def test_what_brings_no_bytes_needs_no_room(full: Load) -> None:
    assert isinstance(decide_again(load=full), Refuse)
    assert isinstance(decide_again(load=full, adds=False), Admit)


def test_what_a_credential_began_is_decided_by_it_while_it_stands() -> None:
    found = standing(SNAPSHOT, CUSTOMER.credential_id, ASKED.now_ms)
    assert found == decide()
    for gone in (without(Entity.CREDENTIAL), without(Entity.WORKFLOW)):
        assert isinstance(standing(gone, CUSTOMER.credential_id, ASKED.now_ms), Refuse)


def attached(load: Load, *, adds: bool) -> Admit | Refuse:
    return admit_again(SNAPSHOT, CUSTOMER.pepper, ASKED, load, adds=adds)


@pytest.mark.reaches("LOOP_LAG_MAX_S", "FLUSH_WAIT_MAX_S")
@pytest.mark.parametrize(
    "load",
    [
        replace(FREE, lag_s=LOOP_LAG_MAX_S * 1.01),
        replace(FREE, flush_wait_s=FLUSH_WAIT_MAX_S * 1.01),
        replace(FREE, in_flight=90, in_flight_max=100),
    ],
)
def test_a_process_that_is_behind_begins_nothing_and_goes_on_with_what_was_begun(
    load: Load,
) -> None:
    refused = decide(load=load)
    assert isinstance(refused, Refuse)
    assert (refused.code, refused.retry_after_s) == (Code.OVERLOADED, ADMISSION_RETRY_AFTER_S)
    assert isinstance(attached(load, adds=True), Admit)
    assert isinstance(attached(load, adds=False), Admit)


def test_at_its_limits_it_still_works() -> None:
    load = replace(FREE, lag_s=LOOP_LAG_MAX_S, flush_wait_s=FLUSH_WAIT_MAX_S, in_flight_max=100)
    assert isinstance(decide(load=replace(load, in_flight=89)), Admit)


def test_a_full_process_answers_who_asks_for_an_offset_and_takes_no_bytes() -> None:
    load = replace(FREE, in_flight=100, in_flight_max=100)
    refused = attached(load, adds=True)
    assert isinstance(refused, Refuse)
    assert refused.code is Code.OVERLOADED
    assert isinstance(attached(load, adds=False), Admit)


def test_of_a_process_that_is_half_full_no_account_gets_more_than_its_share() -> None:
    own, other = CUSTOMER.account_id, OTHER.account_id
    half = replace(FREE, in_flight=50, in_flight_max=100)
    assert isinstance(decide(load=replace(half, of_account={own: 49, other: 1})), Admit)
    refused = decide(load=replace(half, in_flight=51, of_account={own: 50, other: 1}))
    assert isinstance(refused, Refuse)
    assert refused.code is Code.RATE_LIMITED
    assert isinstance(decide(load=replace(half, in_flight=80, of_account={other: 80})), Admit)
    assert isinstance(decide(load=replace(half, in_flight=80, of_account={own: 80})), Admit)
    less = replace(half, in_flight=49, of_account={own: 48, other: 1})
    assert isinstance(decide(load=less), Admit), "while there is room for all, nobody is held back"
