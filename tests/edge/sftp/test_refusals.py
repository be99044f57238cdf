from edge.sftp import refusals
from zentransfer.errors import TABLE, Code, Error


def test_every_error_has_a_status_of_version_3_and_a_sentence() -> None:
    for code in TABLE:
        error = Error(code, "said so")
        assert 2 <= refusals.status(error) <= 8
        assert refusals.text(error)


def test_what_heals_is_a_failure_and_what_editing_cures_is_a_missing_permission() -> None:
    assert refusals.status(Error(Code.SINK_UNAVAILABLE)) == refusals.FAILURE
    assert refusals.status(Error(Code.UNAUTHENTICATED)) == refusals.PERMISSION_DENIED
    assert refusals.status(Error(Code.NOT_FOUND)) == refusals.NO_SUCH_FILE
