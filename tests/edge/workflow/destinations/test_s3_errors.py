import pytest
from obstore.exceptions import GenericError, PermissionDeniedError

from edge.workflow.destinations.base import Fault
from edge.workflow.destinations.s3_errors import failed, status
from zentransfer.errors import Code
from zentransfer.limits import S3_ANSWER_CHARS_MAX


@pytest.mark.parametrize(
    ("error", "code", "fault"),
    [
        (PermissionDeniedError("x"), Code.FORBIDDEN, Fault.DESTINATION),
        (FileNotFoundError("x"), Code.NOT_FOUND, Fault.DESTINATION),
        (GenericError("error sending request"), Code.UNAVAILABLE, Fault.TEMPORARY),
        (ValueError("x"), Code.UNAVAILABLE, Fault.TEMPORARY),
        (
            GenericError("Received redirect without LOCATION, this normally"),
            Code.MISDIRECTED,
            Fault.DESTINATION,
        ),
        (
            FileNotFoundError("status code: 404 Not Found: <Code>NoSuchUpload</Code>"),
            Code.UNAVAILABLE,
            Fault.TEMPORARY,
        ),
        (GenericError("<Code>constructor</Code>"), Code.UNAVAILABLE, Fault.TEMPORARY),
    ],
)
def test_word_then_status_then_type_decide(error: Exception, code: Code, fault: Fault) -> None:
    found = failed(error)
    assert (found.code, found.fault) == (code, fault)


def test_what_a_server_says_is_not_repeated() -> None:
    error = GenericError("status code: 403 Forbidden: <Message>key AKIA of 10.0.0.1</Message>")
    assert "AKIA" not in failed(error).detail
    assert status(error) == 403


@pytest.mark.reaches("S3_ANSWER_CHARS_MAX")
def test_only_the_beginning_of_an_answer_is_searched() -> None:
    word = "<Code>SlowDown</Code>"
    room = S3_ANSWER_CHARS_MAX - len(word)
    assert failed(GenericError("x" * room + word)).code is Code.RATE_LIMITED
    assert failed(GenericError("x" * (room + 1) + word)).code is Code.UNAVAILABLE
