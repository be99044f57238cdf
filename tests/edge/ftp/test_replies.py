import pytest

from edge.ftp import replies
from edge.ftp.replies import Reply, not_signed_in, refusal
from zentransfer.errors import TABLE, Code, Error


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_reply_of_one_line_and_only_a_drain_ends_the_connection(
    code: Code,
) -> None:
    reply = refusal(Error(code))
    assert reply.code == (421 if code is Code.DRAINING else TABLE[code].ftp)
    assert reply.ends == (code is Code.DRAINING)
    assert len(reply.lines) == 1
    assert reply.lines[0].isascii()


@pytest.mark.parametrize("code", Code)
def test_a_failed_sign_in_says_530_only_for_what_editing_the_profile_cures(code: Code) -> None:
    reply = not_signed_in(Error(code))
    assert (reply.code, reply.ends) == ((421, True) if TABLE[code].temporary else (530, False))


def test_passive_replies_have_the_form_that_clients_look_for() -> None:
    assert replies.passive("192.0.2.7", 20_001) == Reply(
        227, ("Entering Passive Mode (192,0,2,7,78,33)",)
    )
    assert replies.extended_passive(20_001).lines == ("Entering Extended Passive Mode (|||20001|)",)


def test_every_last_word_is_421_or_221() -> None:
    said = [each for each in vars(replies).values() if isinstance(each, Reply)]
    assert {each.code for each in said if each.ends} == {421, 221}
    assert all(each.ends for each in said if each.code in (421, 221))
