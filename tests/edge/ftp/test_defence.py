import asyncio

import pytest

from edge.ftp.bounds import Bounds
from edge.ftp.defence import Defence
from tests.support.ftp_door import QUICK, Door, run
from zentransfer.ids import CredentialID
from zentransfer.limits import (
    FTP_LOGIN_PAUSE_MAX_S,
    FTP_LOGIN_PAUSE_S,
    FTP_NETWORKS_MAX,
    FTP_SESSIONS_PER_CREDENTIAL_MAX,
    FTP_WRONG_FADES_S,
    FTP_WRONG_MAX,
)


@pytest.mark.reaches("FTP_LOGIN_PAUSE_MAX_S")
def test_each_wrong_password_of_a_network_waits_longer_up_to_a_limit() -> None:
    defence = Defence(b"key")
    pauses = [defence.wrong(f"192.0.2.{number}", 0.0) for number in range(40)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 1
    assert pauses[-1] * FTP_LOGIN_PAUSE_S == FTP_LOGIN_PAUSE_MAX_S
    assert defence.wrong("198.51.100.1", 0.0) == 1, "another network"


@pytest.mark.reaches("FTP_WRONG_MAX", "FTP_WRONG_FADES_S")
def test_who_guesses_on_and_on_waits_outside_and_comes_in_again() -> None:
    defence = Defence(b"key")
    for _ in range(FTP_WRONG_MAX - 1):
        defence.wrong("192.0.2.1", 0.0)
    assert not defence.is_shut("192.0.2.1", 0.0)
    for _ in range(1_000):
        defence.wrong("192.0.2.77", 0.0)
    assert defence.is_shut("192.0.2.1", 0.0)
    assert not defence.is_shut("192.0.3.1", 0.0)
    assert not defence.is_shut("2001:db8::1", 0.0)
    assert not defence.is_shut("192.0.2.1", FTP_WRONG_FADES_S * 2), "soon, not for ever"


def test_a_stadium_whose_bodies_mostly_sign_in_is_not_shut_out() -> None:
    defence = Defence(b"key")
    for _ in range(2_000):
        defence.wrong("192.0.2.1", 0.0)
        if _ % 10 == 0:
            defence.right("192.0.2.2", 0.0)
        assert not defence.is_shut("192.0.2.3", 0.0)


@pytest.mark.reaches("FTP_NETWORKS_MAX")
def test_so_many_networks_are_counted_and_no_address_is_kept() -> None:
    defence = Defence(b"key")
    for number in range(FTP_NETWORKS_MAX + 10):
        defence.wrong(f"10.{number >> 8}.{number & 255}.1", 0.0)
    assert len(defence._wrong) == FTP_NETWORKS_MAX
    assert all(isinstance(network, bytes) and len(network) == 16 for network in defence._wrong)


def test_sessions_of_a_credential_are_counted() -> None:
    defence, credential = Defence(b"key"), CredentialID("cr_a")
    defence.entered(credential)
    defence.entered(credential)
    defence.left(credential)
    assert defence.sessions(credential) == 1
    defence.left(credential)
    assert not defence._signed_in


@pytest.mark.reaches("FTP_SESSIONS_PER_CREDENTIAL_MAX")
def test_one_credential_has_so_many_sessions_and_signs_in_again_when_one_ends() -> None:
    assert Bounds().per_credential_max == FTP_SESSIONS_PER_CREDENTIAL_MAX

    async def test(door: Door) -> None:
        async with door.client():
            async with door.client(), door.stranger() as third:
                await third.heard()
                assert await third.sign_in() == 421
                assert await third.is_closed()
            async with asyncio.timeout(20):
                while door.door.sessions > 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            async with door.client() as client:
                assert await client.sign_in() == 230, "who signs in anew takes no second place"
                assert await client.say("REIN") == 220
                assert await client.sign_in() == 230

    run(test, bounds=Bounds(per_credential_max=2, login_pause_s=QUICK.login_pause_s))


def test_a_network_that_is_shut_out_hears_421_and_others_do_not() -> None:
    async def test(door: Door) -> None:
        now_s = asyncio.get_running_loop().time()
        for _ in range(FTP_WRONG_MAX + 1):
            door.door._verbs.defence.wrong("127.0.0.1", now_s)
        async with door.stranger() as client:
            code, text = await client.heard()
            assert code == 421
            assert "wrong passwords" in text
            assert await client.is_closed()

    run(test)
