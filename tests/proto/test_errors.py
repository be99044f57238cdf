import copy
import pickle
import re
from http import HTTPStatus

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zentransfer.errors import TABLE, Code, Error, Grpc, ftp_line, may_wait, problem
from zentransfer.limits import ERROR_DETAIL_CHARS_MAX

# The negative replies of RFC 959 (4.2), RFC 1123 (4.1.2.11: 554) and RFC 4217 (534 and others).
FTP_REPLIES = {421, 425, 426, 431, 450, 451, 452} | {
    *(500, 501, 502, 503, 504, 530, 532, 533, 534, 535, 536, 537),
    *(550, 551, 552, 553, 554),
}
# What a client may send again unchanged; 460 is tus 1.0 (the content broke on its way).
HTTP_HEALS = {408, 423, 425, 429, 460, 500, 502, 503, 504, 507}
GRPC_HEALS = {
    *(Grpc.CANCELLED, Grpc.DEADLINE_EXCEEDED, Grpc.RESOURCE_EXHAUSTED, Grpc.ABORTED),
    *(Grpc.INTERNAL, Grpc.UNAVAILABLE),
}
EVERY_CODE = pytest.mark.parametrize("code", Code)


def test_every_code_has_a_reply_and_every_reply_a_code() -> None:
    assert set(TABLE) == set(Code)


@EVERY_CODE
def test_a_code_is_a_refusal_in_each_protocol(code: Code) -> None:
    reply = TABLE[code]
    assert reply.grpc is not Grpc.OK
    assert reply.http == 460 or HTTPStatus(reply.http).value >= 400
    assert reply.ftp in FTP_REPLIES


@EVERY_CODE
def test_temporary_means_the_same_in_each_protocol(code: Code) -> None:
    reply = TABLE[code]
    assert reply.temporary == (reply.ftp // 100 == 4)
    assert reply.temporary == (reply.http in HTTP_HEALS)
    # The quota's status is gRPC's own word for it, and the only one that may go either way.
    assert reply.temporary == (reply.grpc in GRPC_HEALS) or reply.grpc in {
        Grpc.RESOURCE_EXHAUSTED,
        Grpc.ABORTED,
    }


@EVERY_CODE
def test_a_reason_is_one_plain_sentence_that_says_what_to_do(code: Code) -> None:
    reason = TABLE[code].reason
    assert re.fullmatch(r"[A-Z][A-Za-z',; -]{10,99}", reason)
    assert ";" in reason, "what is wrong; what to do"


def test_no_two_codes_give_the_same_reason() -> None:
    assert len({reply.reason for reply in TABLE.values()}) == len(TABLE)


def test_cameras_get_the_codes_that_they_understand() -> None:
    by_ftp: dict[int, set[Code]] = {}
    for code, reply in TABLE.items():
        by_ftp.setdefault(reply.ftp, set()).add(code)
    assert by_ftp[552] == {Code.QUOTA}, "552 stops a camera's queue"
    assert by_ftp[530] == {Code.UNAUTHENTICATED, Code.TLS_REQUIRED}, "530 halts it"
    assert by_ftp[554] == {Code.OFFSET_MISMATCH, Code.DAMAGED}, "REST beyond what we hold"
    assert 553 not in by_ftp, "a name is never refused"
    healing = {code for code in Code if TABLE[code].http in {500, 503, 507}}
    assert healing == by_ftp[451] - {Code.CHECKSUM_MISMATCH}


def test_our_grpc_statuses_are_those_of_grpc() -> None:
    assert {status.name: status.value for status in Grpc} == {
        status.name: status.value[0] for status in grpc.StatusCode
    }


def test_an_error_carries_its_code_detail_and_patience() -> None:
    error = Error(Code.OVERLOADED, "Uploads in flight are at their limit", retry_after_s=2.5)
    assert (error.code, error.detail) == (Code.OVERLOADED, "Uploads in flight are at their limit")
    assert error.retry_after_s == 2.5
    assert error.reply is TABLE[Code.OVERLOADED]
    assert str(error) == "overloaded: Uploads in flight are at their limit"
    assert str(Error(Code.GONE)) == "gone: This is gone; start a new upload"


@pytest.mark.parametrize("copied", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_survives_copying(copied: object) -> None:
    assert callable(copied)
    error = copied(Error(Code.QUOTA, "The month is used up", 60))
    assert (error.code, error.detail, error.retry_after_s) == (
        Code.QUOTA,
        "The month is used up",
        60,
    )


@EVERY_CODE
def test_waiting_is_offered_only_where_it_may_help(code: Code) -> None:
    if may_wait(code):
        assert Error(code, retry_after_s=1).retry_after_s == 1
    else:
        with pytest.raises(AssertionError, match="waiting does not cure"):
            Error(code, retry_after_s=1)
    assert may_wait(code) == (TABLE[code].temporary or code is Code.QUOTA)


@pytest.mark.reaches("ERROR_DETAIL_CHARS_MAX")
def test_a_long_detail_is_cut() -> None:
    whole = "x" * ERROR_DETAIL_CHARS_MAX
    assert Error(Code.INVALID, whole).detail == whole
    assert Error(Code.INVALID, whole + "y").detail == whole


@EVERY_CODE
def test_problem_details_hold_the_status_and_a_word_to_program_against(code: Code) -> None:
    found = problem(Error(code))
    assert found == {
        "type": TABLE[code].problem or f"tag:zentransfer.io,2026:problem/{code}",
        "title": TABLE[code].reason,
        "status": TABLE[code].http,
        "code": code.value,
    }
    assert problem(Error(code, "More"))["detail"] == "More"


def test_the_registered_problem_types_are_used_where_they_exist() -> None:
    registry = "https://iana.org/assignments/http-problem-types#"
    assert TABLE[Code.OFFSET_MISMATCH].problem == registry + "mismatching-upload-offset"
    assert TABLE[Code.INCONSISTENT_LENGTH].problem == registry + "inconsistent-upload-length"
    assert TABLE[Code.OFFSET_MISMATCH].http == 409
    assert TABLE[Code.INCONSISTENT_LENGTH].http == 400


@given(st.sampled_from(Code), st.text(), st.booleans())
def test_a_reply_of_ftp_is_one_line_whatever_the_detail(
    code: Code, detail: str, closing: bool
) -> None:
    line = ftp_line(Error(code, detail), closing=closing)
    assert re.fullmatch(r"[45][0-9][0-9] [ -~]+", line)
    assert len(line) <= 4 + 102 + ERROR_DETAIL_CHARS_MAX


@EVERY_CODE
def test_a_reply_that_ends_the_connection_is_421_where_it_heals(code: Code) -> None:
    line = ftp_line(Error(code), closing=True)
    reply = TABLE[code]
    assert line == f"{421 if reply.temporary else reply.ftp} {reply.reason}."
