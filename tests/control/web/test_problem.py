import json

import pytest

from control.web.problem import problem
from zentransfer.errors import TABLE, Code, Error, may_wait


@pytest.mark.parametrize("code", Code)
def test_every_code_has_its_problem_details(code: Code) -> None:
    wait_s = 2.5 if may_wait(code) else None
    answer = problem(Error(code, "what to do", wait_s))
    document = json.loads(answer.text or "")
    assert answer.status == document["status"] == TABLE[code].http
    assert (document["code"], document["detail"]) == (code, "what to do")
    assert answer.content_type == "application/problem+json"
    assert answer.headers.get("Retry-After") == ("3" if wait_s else None)
    assert ("WWW-Authenticate" in answer.headers) == (code is Code.UNAUTHENTICATED)


def test_a_code_without_a_detail_says_its_reason() -> None:
    document = json.loads(problem(Error(Code.NOT_FOUND)).text or "")
    assert document["detail"] == TABLE[Code.NOT_FOUND].reason
    assert document["type"] == "about:blank"
