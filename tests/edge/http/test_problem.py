import json

import pytest

from edge.http.problem import refusal
from zentransfer.errors import TABLE, Code, Error, may_wait


@pytest.mark.parametrize("code", Code)
def test_every_code_is_answered_by_its_own_status_and_words(code: Code) -> None:
    answer = refusal(Error(code, "a detail of ours"))
    page = json.loads(answer.body)
    assert answer.status == page["status"] == TABLE[code].http
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (page["title"], page["code"]) == (TABLE[code].reason, code)
    assert page["detail"] == "a detail of ours"
    assert "Retry-After" not in answer.headers


@pytest.mark.parametrize("code", [code for code in Code if may_wait(code)])
def test_a_time_to_come_back_is_whole_seconds_and_stretched(code: Code) -> None:
    assert refusal(Error(code, retry_after_s=5.0)).headers["Retry-After"] == "5"
    assert refusal(Error(code, retry_after_s=5.0), 1.5).headers["Retry-After"] == "8"


def test_a_401_says_how_to_sign_in() -> None:
    challenge = refusal(Error(Code.UNAUTHENTICATED)).headers["WWW-Authenticate"]
    assert challenge == 'Bearer realm="zentransfer"'
    assert "WWW-Authenticate" not in refusal(Error(Code.FORBIDDEN)).headers
