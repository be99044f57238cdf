import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.ftp.looking import LOOKS
from edge.ftp.replies import NOT_ACTIVE, TOO_LONG, refusal
from edge.ftp.session import FEATURES, NOT_FTP, OPEN_TO_ALL, RULES, Session, is_whole
from tests.support.snapshots import Customer
from zentransfer.errors import Code, Error
from zentransfer.limits import FTP_FAULTS_MAX, FTP_LOGIN_TRIES_MAX

EVERY = {**RULES, **LOOKS}


def said(session: Session, verb: str, argument: str = "") -> int:
    try:
        return EVERY[verb](session, argument).code
    except Error as error:
        return refusal(error).code


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(EVERY)), st.text(max_size=20) | st.sampled_from("I12"))
    )
)
def test_no_command_makes_a_session_raise_or_signs_it_in(commands: list[tuple[str, str]]) -> None:
    session = Session()
    for verb, argument in commands:
        assert 200 <= said(session, verb, argument) < 600
        assert len(session.view) == 0
        assert not session.is_signed_in


def test_a_name_and_a_password_are_used_once() -> None:
    session, shown = Session(), Customer().shown
    with pytest.raises(Error) as raised:
        session.offered(shown.secret)
    assert raised.value.code is Code.FAILED_PRECONDITION
    assert session.user(shown.name).code == 331
    assert session.offered(shown.secret) == shown
    assert session.signed_in(shown).code == 230
    assert session.shown == shown
    assert said(session, "USER", "other") == 331
    assert not session.is_signed_in
    assert session.offered("wrong") is None


@pytest.mark.reaches("FTP_LOGIN_TRIES_MAX")
def test_the_last_wrong_password_ends_the_connection() -> None:
    session = Session()
    wrong = refusal(Error(Code.UNAUTHENTICATED))
    replies = [session.failed(wrong) for _ in range(FTP_LOGIN_TRIES_MAX)]
    assert [reply.code for reply in replies] == [530, 530, 421]
    assert [reply.ends for reply in replies] == [False, False, True]


@pytest.mark.reaches("FTP_FAULTS_MAX")
def test_many_commands_in_a_row_that_are_none_are_too_many() -> None:
    session = Session()
    for _ in range(3):
        for _ in range(FTP_FAULTS_MAX - 1):
            assert session.faulty(TOO_LONG) == TOO_LONG
        session.understood()
    for _ in range(FTP_FAULTS_MAX - 1):
        session.faulty(TOO_LONG)
    assert session.faulty(TOO_LONG) is None


@pytest.mark.parametrize(
    ("verb", "argument", "code"),
    [
        *[("TYPE", value, 200) for value in ("I", "i", "A", "A N", "a n", "L 8")],
        *[("TYPE", value, 504) for value in ("E", "", "L 7", "A T")],
        *[("MODE", "S", 200), ("MODE", "B", 504), ("STRU", "F", 200), ("STRU", "R", 504)],
        *[("ALLO", "100", 200), ("ALLO", "100 R 20", 200), ("ALLO", "0", 200)],
        *[("ALLO", value, 501) for value in ("", "x", "-1", "9" * 19)],
        *[("REST", "0", 350), ("REST", "5", 350), ("REST", "x", 501), ("REST", "²", 501)],
        *[("OPTS", "UTF8 ON", 200), ("OPTS", "utf-8 on", 200), ("OPTS", "MLST size;", 200)],
        *[("OPTS", "UTF-8 OFF", 200), ("OPTS", "HASH SHA-1", 501), ("OPTS", "MLST", 200)],
        *[("NOOP", "", 200), ("SYST", "", 215), ("FEAT", "", 211), ("HELP", "", 214)],
        *[("SITE", "HELP", 214), ("SITE", "CHMOD 644 x", 502)],
        *[("LANG", "", 200), ("LANG", "EN-us", 200), ("LANG", "FR", 504)],
        *[("CLNT", "x", 200), ("ACCT", "x", 202), ("HOST", "x", 220), ("REIN", "", 220)],
        *[(verb, "x", 550) for verb in ("HASH", "XCRC", "XMD5")],
    ],
)
def test_the_reply_that_clients_act_on(verb: str, argument: str, code: int) -> None:
    assert said(Session(), verb, argument) == code


def test_active_mode_is_refused_in_one_way() -> None:
    assert RULES["PORT"](Session(), "127,0,0,1,4,1") == NOT_ACTIVE
    assert RULES["EPRT"](Session(), "|1|127.0.0.1|1025|") == NOT_ACTIVE


def test_only_what_works_is_a_feature() -> None:
    features = set(RULES["FEAT"](Session(), "").lines[1:-1])
    assert features == set(FEATURES)
    verbs = {feature.split()[0] for feature in FEATURES} - {"UTF8", "TVFS"}
    assert verbs <= {*RULES, *LOOKS, "EPSV", "PASV"}


def test_a_browser_and_a_client_share_no_verb() -> None:
    assert not NOT_FTP & (set(RULES) | OPEN_TO_ALL)


def test_an_announced_size_is_good_for_one_file() -> None:
    session = Session()
    RULES["ALLO"](session, "100")
    RULES["TYPE"](session, "I")
    assert session.take_announced() == 100
    assert session.take_announced() is None


@pytest.mark.parametrize(
    ("received", "announced", "is_alone", "before", "whole"),
    [
        (100, None, False, 0, True),
        (0, None, False, 0, True),
        (100, None, True, 0, False),  # as a killed client ends
        (99, 100, False, 0, False),
        (100, 100, False, 0, True),
        (101, 100, False, 0, True),  # a text grows by its line ends
        (100, 100, True, 0, True),  # its word was kept
        (99, 100, True, 0, False),
        (40, 100, False, 60, True),  # ALLO said how long all of it is
        (40, 40, False, 60, True),  # or the rest of it
        (39, 100, False, 60, False),
        (39, 40, False, 60, False),
    ],
)
def test_what_is_taken_for_a_whole_file(
    received: int, announced: int | None, is_alone: bool, before: int, whole: bool
) -> None:
    assert is_whole(received, announced, is_alone=is_alone, before=before) == whole
