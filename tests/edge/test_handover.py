from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import handover
from edge.handover import Flaw, Signer, Ticket, TicketRefused
from edge.http.handed import QUERY, maybe_ticket
from edge.snapshot import TicketKeyEntry
from zentransfer.ids import AccountID, CredentialID, IdMaker, Kind, Region, WorkflowID
from zentransfer.limits import (
    HANDOVER_HOPS_MAX,
    HANDOVER_PATH_CHARS_MAX,
    HANDOVER_S,
    HANDOVER_SKEW_S,
    HANDOVER_TICKET_CHARS_MAX,
)

NOW_MS = 1_700_000_000_000
SIGNER = Signer(b"o" * 32, Region.US)
KEY = TicketKeyEntry(SIGNER.kid, Region.US, SIGNER.public)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def ticket(seed: int = 1, **fields: object) -> Ticket:
    make = IdMaker(Random(seed).randbytes).make
    made = Ticket(
        account=AccountID(make(Kind.ACCOUNT)),
        credential=CredentialID(make(Kind.CREDENTIAL)),
        workflow=WorkflowID(make(Kind.WORKFLOW)),
        region=Region.SG,
        expires_ms=handover.expires_ms(NOW_MS),
        nonce=handover.nonce(Random(seed).randbytes),
    )
    return replace(made, **fields)  # type: ignore[arg-type]  # any field


def opened(
    text: str,
    region: Region = Region.SG,
    now_ms: int = NOW_MS,
    key: TicketKeyEntry | None = KEY,
) -> Ticket:
    def maybe(kid: str) -> TicketKeyEntry | None:
        return key if key is not None and key.id == kid else None

    return handover.opened(text, maybe, region, now_ms)


def flaw(text: str, **given: object) -> Flaw:
    with pytest.raises(TicketRefused) as refused:
        opened(text, **given)  # type: ignore[arg-type]  # as of opened
    return refused.value.flaw


TICKETS = st.builds(
    ticket,
    st.integers(0, 1_000),
    length=st.none() | st.integers(0, 2**62),
    hops=st.integers(1, HANDOVER_HOPS_MAX),
)


@given(TICKETS)
@pytest.mark.reaches("HANDOVER_TICKET_CHARS_MAX")
def test_a_ticket_says_in_the_other_region_what_was_checked_in_the_first(told: Ticket) -> None:
    text = SIGNER.signed(told)
    assert opened(text) == told
    assert set(text) <= set(LETTERS), "as it is in a URL"
    assert len(text) <= HANDOVER_TICKET_CHARS_MAX / 2
    assert flaw("A" * (HANDOVER_TICKET_CHARS_MAX + 1)) is Flaw.MALFORMED


@given(TICKETS, st.data())
def test_a_ticket_of_which_anything_was_changed_opens_nothing(
    told: Ticket, data: st.DataObject
) -> None:
    text = SIGNER.signed(told)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(LETTERS).filter(lambda letter: letter != text[place]))
    changed = text[:place] + other + text[place + 1 :]
    assert flaw(changed) in {Flaw.MALFORMED, Flaw.UNKNOWN_KEY, Flaw.FORGED}
    assert flaw(text[:place]) in {Flaw.MALFORMED, Flaw.FORGED}
    assert flaw(text + other) in {Flaw.MALFORMED, Flaw.FORGED}


@given(st.text(max_size=600) | st.text(LETTERS, max_size=600))
def test_what_a_stranger_makes_up_is_refused_by_name(text: str) -> None:
    assert flaw(text) in {Flaw.MALFORMED, Flaw.UNKNOWN_KEY, Flaw.FORGED}


def test_a_ticket_of_a_key_that_nobody_told_opens_nothing() -> None:
    text = SIGNER.signed(ticket())
    other = Signer(b"p" * 32, Region.US)
    assert other.kid != SIGNER.kid
    assert flaw(text, key=None) is Flaw.UNKNOWN_KEY
    assert flaw(other.signed(ticket())) is Flaw.UNKNOWN_KEY
    assert flaw(text, key=replace(KEY, key=other.public)) is Flaw.FORGED
    assert flaw(text, key=replace(KEY, key=bytes(5))) is Flaw.FORGED
    assert flaw(text, key=replace(KEY, not_before_ms=NOW_MS + 1)) is Flaw.UNKNOWN_KEY
    assert flaw(text, key=replace(KEY, not_after_ms=NOW_MS - 1)) is Flaw.UNKNOWN_KEY
    assert opened(text, key=replace(KEY, not_before_ms=NOW_MS, not_after_ms=NOW_MS)) == ticket()


def test_a_region_has_one_key_and_it_is_that_of_no_other() -> None:
    assert Signer(b"o" * 32, Region.US).public == SIGNER.public
    assert SIGNER.kid.startswith("us-")
    assert Signer(b"p" * 32, Region.US).public != SIGNER.public


@given(TICKETS, st.sampled_from([Region.US, Region.FR]))
def test_a_ticket_opens_in_the_one_region_that_it_names(told: Ticket, region: Region) -> None:
    assert flaw(SIGNER.signed(told), region=region) is Flaw.ELSEWHERE


@pytest.mark.reaches("HANDOVER_S")
@pytest.mark.reaches("HANDOVER_SKEW_S")
def test_a_ticket_is_good_for_a_minute_and_one_for_longer_never() -> None:
    text = SIGNER.signed(ticket())
    last_ms = NOW_MS + int(HANDOVER_S * 1000)
    assert opened(text, now_ms=last_ms - 1) == ticket()
    assert flaw(text, now_ms=last_ms) is Flaw.EXPIRED
    early_ms = NOW_MS - int(HANDOVER_SKEW_S * 1000)
    assert opened(text, now_ms=early_ms) == ticket(), "another region's clock may be behind"
    assert flaw(text, now_ms=early_ms - 1) is Flaw.TOO_LONG


@pytest.mark.reaches("HANDOVER_HOPS_MAX")
def test_there_is_no_ticket_for_one_hand_over_too_many() -> None:
    assert flaw(SIGNER.signed(ticket(hops=HANDOVER_HOPS_MAX + 1))) is Flaw.MALFORMED
    assert flaw(SIGNER.signed(ticket(hops=0))) is Flaw.MALFORMED


def test_what_is_signed_and_cannot_be_read_opens_nothing() -> None:
    for fields in (
        {"account": "ac_x"},
        {"nonce": b"short"},
        {"workflow": "up_" + "a" * 26},
        {"length": -1},
    ):
        assert flaw(SIGNER.signed(ticket(**fields))) is Flaw.MALFORMED


@given(st.none() | st.integers(0, 10), st.none() | st.integers(0, 10))
def test_a_ticket_is_for_an_upload_of_the_size_that_was_announced(
    told: int | None, announced: int | None
) -> None:
    if told in (None, announced):
        handover.check_length(ticket(length=told), announced)
    else:
        with pytest.raises(TicketRefused) as refused:
            handover.check_length(ticket(length=told), announced)
        assert refused.value.flaw is Flaw.OTHER_SIZE


def test_the_secret_of_a_ticket_is_in_no_repr() -> None:
    assert "nonce" not in repr(ticket())


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/in/x", None),
        ("/in/x?", None),
        ("/in/ticket", None),
        (f"/in/x?{QUERY}=abc-_1", "abc-_1"),
        (f"/in/x?a=b&{QUERY}=abc&{QUERY}=def", "abc"),
        (f"/in/x?{QUERY}=", ""),
        (f"/in/x?{QUERY}", ""),
        (f"/in/x?my{QUERY}=abc", None),
        (f"http://h/in/x?{QUERY}=abc", "abc"),
        ("/in/x?" + "a&" * 20 + f"{QUERY}=abc", None),
    ],
)
def test_a_ticket_stands_behind_its_name_in_the_query(target: str, expected: str | None) -> None:
    assert maybe_ticket(target) == expected


@pytest.mark.reaches("HANDOVER_PATH_CHARS_MAX")
def test_a_path_that_is_sent_on_fits_in_a_request_line_with_its_ticket() -> None:
    longest = SIGNER.signed(ticket(length=2**62, hops=HANDOVER_HOPS_MAX))
    line = f"PATCH {'x' * HANDOVER_PATH_CHARS_MAX}?{QUERY}={longest} HTTP/1.1\r\n"
    assert len(line) < 8_190, "aiohttp reads no longer one"
