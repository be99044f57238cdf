from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.ftp.trace import SHOWN, Traceable, Traces, masked, plain
from tests.support.canaries import CANARIES
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, CredentialID
from zentransfer.limits import (
    TRACE_LINE_BYTES_MAX,
    TRACE_LINES_BEFORE_MAX,
    TRACE_LINES_WAITING_MAX,
    TRACES_MAX,
)

CAMERA = Traceable(CredentialID("cr_camera"), AccountID("ac_nina"), "kid", bytes(32))
OTHER = Traceable(CredentialID("cr_other"), AccountID("ac_ola"), "kid", bytes(32))
NAMES = {"camera23": CAMERA, "other234": OTHER}
SECRET = CANARIES["camera's secret"]


class World:
    """Traces, and a clock to turn."""

    def __init__(self) -> None:
        self.now_ms = 1_000
        self.wakes = 0
        self.traces = Traces(NAMES.get, lambda: self.now_ms, self._wake)

    def _wake(self) -> None:
        self.wakes += 1

    def texts(self) -> list[str]:
        return [line.text for line in self.traces.take(1_000)]


def test_a_traced_session_is_heard_from_its_first_word() -> None:
    world = World()
    world.traces.open(CAMERA.credential, 60_000)
    ear = world.traces.ear()
    ear.said(220, ["ZenTransfer"])
    ear.heard("AUTH", "TLS")
    ear.said(502, ["no"])
    assert world.texts() == []
    ear.heard("USER", "camera23")
    ear.said(331, ["Send the password"])
    ear.heard("PASS", SECRET)
    ear.said(211, ["Features:", "EPSV", "End"])
    ear.heard("STOR", "IMG_0001.JPG")
    assert world.texts() == [
        "< 220 ZenTransfer",
        "> AUTH TLS",
        "< 502 no",
        "> USER camera23",
        "< 331 Send the password",
        "> PASS ****",
        "< 211 Features: / EPSV / End",
        "> STOR IMG_0001.JPG",
    ]
    assert world.texts() == []
    assert world.wakes


def test_nobody_else_is_heard() -> None:
    world = World()
    world.traces.open(CAMERA.credential, 60_000)
    ear = world.traces.ear()
    ear.heard("FEAT", "")
    ear.heard("USER", "other234")
    ear.heard("STOR", "secret.jpg")
    ear.heard("USER", "nobody")
    ear.heard("CWD", "x")
    assert world.texts() == []
    ear.heard("USER", "camera23")
    assert world.texts() == ["> USER ****", "> CWD x", "> USER camera23"]


def test_a_trace_may_open_in_the_middle_and_ends_in_time() -> None:
    world = World()
    ear = world.traces.ear()
    ear.heard("USER", "camera23")
    ear.heard("CWD", "before")
    assert not world.traces.are_open
    world.traces.open(CAMERA.credential, 60_000)
    ear.heard("CWD", "during")
    world.now_ms += 59_999
    ear.heard("CWD", "late")
    world.now_ms += 1
    ear.heard("CWD", "after")
    ear.said(250, ["ok"])
    assert world.texts() == ["> CWD during", "> CWD late"]
    assert not world.traces.are_open


def test_a_trace_that_lasts_no_longer_is_over_at_once() -> None:
    world = World()
    world.traces.open(CAMERA.credential, 60_000)
    world.traces.open(CAMERA.credential, 0)
    assert not world.traces.are_open
    assert not world.traces.are_open


@pytest.mark.reaches("TRACES_MAX")
def test_only_so_many_are_traced_at_once() -> None:
    world = World()
    for number in range(TRACES_MAX):
        world.traces.open(CredentialID(f"cr_{number}"), 60_000)
    world.traces.open(CredentialID("cr_1"), 60_000)
    with pytest.raises(Error) as refused:
        world.traces.open(CAMERA.credential, 60_000)
    assert refused.value.code is Code.OVERLOADED
    world.now_ms += 60_000
    world.traces.open(CAMERA.credential, 60_000)


@pytest.mark.reaches("TRACE_LINES_WAITING_MAX", "TRACE_LINES_BEFORE_MAX")
def test_what_nobody_takes_is_forgotten_the_oldest_first() -> None:
    world = World()
    world.traces.open(CAMERA.credential, 60_000)
    ear = world.traces.ear()
    for number in range(TRACE_LINES_BEFORE_MAX + 3):
        ear.heard("CWD", str(number))
    ear.heard("USER", "camera23")
    found = world.texts()
    assert len(found) == TRACE_LINES_BEFORE_MAX + 1
    assert found[0] == "> CWD 3"
    for number in range(TRACE_LINES_WAITING_MAX + 5):
        ear.heard("CWD", str(number))
    found = world.texts()
    assert len(found) == TRACE_LINES_WAITING_MAX
    assert found[0] == "> CWD 5"


@pytest.mark.reaches("TRACE_LINE_BYTES_MAX")
@given(st.sampled_from([masked, lambda _, text: plain(text)]), st.text(min_size=1))
def test_a_line_is_one_printable_line_and_not_too_long(
    say: Callable[[str, str], str], text: str
) -> None:
    for wanted in (text, text * TRACE_LINE_BYTES_MAX):
        line = say("STOR", wanted)
        assert len(line.encode()) <= TRACE_LINE_BYTES_MAX
        assert not any(char in line for char in "\r\n\0\x1b\x9b")


secrets = st.text(min_size=5, alphabet="§¶µ¿")  # what no verb, reply or mask is made of


secretive = ("PASS", "pass", "ACCT", "USER", "SITE", "PORT", "EPRT", "HOST", "ADAT", "X")
verbs = st.text(max_size=6) | st.sampled_from(secretive)


@given(st.lists(st.tuples(verbs, secrets)))
def test_no_secret_is_ever_in_a_line(commands: list[tuple[str, str]]) -> None:
    world = World()
    world.traces.open(CAMERA.credential, 60_000)
    ear = world.traces.ear()
    for verb, secret in commands:
        ear.heard(verb, secret)
        ear.heard("USER", "camera23")
        said = set("".join(world.texts()))  # taken also where it may be shown
        if verb.upper() not in SHOWN - {"USER"}:
            assert not set("§¶µ¿") & said, verb


def test_what_is_no_command_may_be_a_password() -> None:
    assert masked(SECRET, "") == "(what is no command)"
    assert masked("PORT", "192,0,2,77,4,5") == "PORT ****"
    assert masked("NOOP", "") == "NOOP"
