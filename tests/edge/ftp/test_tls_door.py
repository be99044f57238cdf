"""The FTP door by TLS, on a real port, with a client that says what it likes."""

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from edge.ftp.security import Policy
from edge.ftp.tls import Entrance
from edge.snapshot import CredentialEntry
from tests.support.certificates import make_certificate
from tests.support.ftp_door import Client, Door, dialled, run
from tests.support.snapshots import Customer
from tests.support.tls_client import Secure, certified, client_context, ftp_context
from zentransfer.tls import Age

LOOPS = pytest.mark.parametrize("uvloop", [False, True])
CONTENT = Random(4).randbytes(1_500_000)
TLS_1_1 = ssl.TLSVersion.TLSv1_1
OLD = "ALL:@SECLEVEL=0"
"""The suites of a body of 2013."""


class Strict(Customer):
    """A customer whose camera has to encrypt."""

    def credential(self) -> CredentialEntry:
        return replace(super().credential(), require_tls=True)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return ftp_context(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def both(tls: ssl.SSLContext) -> tuple[Entrance, ...]:
    """A clear listener that offers TLS, and an implicit one."""
    return Entrance(tls), Entrance(tls, is_implicit=True)


async def greeted(client: Client) -> Client:
    assert (await client.heard())[0] == 220
    return client


@LOOPS
def test_a_file_by_explicit_tls(both: tuple[Entrance, ...], uvloop: bool) -> None:
    async def test(door: Door) -> None:
        async with door.stranger() as client:
            await greeted(client)
            secure = await client.private(client_context())
            assert await client.sign_in() == 230
            code, data = await client.store_by_tls("a.jpg", CONTENT, client_context())
            assert code == 226
            assert secure.object.version() == data.object.version() == "TLSv1.3"
            assert await client.say("QUIT") == 221
        assert [content for _, content in await door.committed()] == [CONTENT]

    run(test, uvloop=uvloop, entrances=both)


@LOOPS
def test_a_file_by_implicit_tls(both: tuple[Entrance, ...], uvloop: bool) -> None:
    async def test(door: Door) -> None:
        async with door.stranger(entrance=1) as client:
            await client.secure(client_context())
            await greeted(client)
            assert await client.sign_in() == 230
            code, _ = await client.store_by_tls("a.jpg", CONTENT, client_context())
            assert code == 226, "data is private without PROT P"
            assert await client.say("AUTH TLS") == 503
        assert [content for _, content in await door.committed()] == [CONTENT]

    run(test, uvloop=uvloop, entrances=both)


def test_d02_nothing_of_tls_is_said_yes_to_in_clear(both: tuple[Entrance, ...]) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert [await client.say(line) for line in ("PBSZ 0", "PROT P", "CCC")] == [
                503,
                503,
                533,
            ]
            assert await client.store("clear.jpg", b"clear") == 226

    run(test, entrances=both)


def test_a_door_without_a_certificate_offers_no_tls() -> None:
    async def test(door: Door) -> None:
        async with door.stranger() as client:
            await greeted(client)
            assert await client.say("AUTH TLS") == 502
            await client.send("FEAT")
            assert "AUTH" not in (await client.heard())[1]
            assert await client.sign_in() == 230

    run(test)


def test_auth_pbsz_and_prot_before_user(both: tuple[Entrance, ...]) -> None:
    async def test(door: Door) -> None:
        async with door.stranger() as client:
            await greeted(client)
            await client.send("FEAT")
            assert {" AUTH TLS", " PBSZ", " PROT"} <= set((await client.heard())[1].split("\r\n"))
            assert await client.say("AUTH GSSAPI") == 504
            assert await client.say("AUTH TLS") == 234
            await client.secure(client_context())
            assert await client.say("PROT P") == 503, "before PBSZ"
            said = {
                "PBSZ x": 501,
                "PBSZ 0": 200,
                "PROT S": 536,
                "PROT E": 536,
                "PROT x": 504,
                "PROT C": 200,
                "PROT P": 200,
                "CCC": 534,
                "AUTH TLS": 503,
            }
            for line, code in said.items():
                assert await client.say(line) == code, line
            assert await client.sign_in() == 230

    run(test, entrances=both)


@pytest.mark.parametrize("behind", ["USER x\r\n", "USE", "\r\n"])
def test_what_came_with_auth_in_clear_is_never_taken_for_encrypted(
    both: tuple[Entrance, ...], behind: str
) -> None:
    async def test(door: Door) -> None:
        async with door.stranger() as client:
            await greeted(client)
            await client.send(f"AUTH TLS\r\n{behind}", end=b"")
            assert await client.is_closed(), "not even 234"

    run(test, entrances=both)


def test_who_signed_in_in_clear_signs_in_again_after_auth(both: tuple[Entrance, ...]) -> None:
    async def test(door: Door) -> None:
        async with door.client() as client:
            assert await client.say("CWD x") == 250
            await client.private(client_context())
            assert await client.say("PASV") == 530
            assert await client.sign_in() == 230
            await client.send("PWD")
            assert (await client.heard())[1].startswith('"/"')

    run(test, entrances=both)


def test_rein_ends_tls_and_begins_anew(both: tuple[Entrance, ...]) -> None:
    async def test(door: Door) -> None:
        async with door.stranger() as client:
            await greeted(client)
            secure = await client.private(client_context())
            assert await client.sign_in() == 230
            assert await client.say("REIN") == 220
            assert await secure.read() == b"", "a close_notify"
            secure.say_end()
            client.in_clear()
            assert await client.say("PASV") == 530
            assert await client.say("PROT P") == 503
            await client.private(client_context())
            assert await client.sign_in() == 230
            code, _ = await client.store_by_tls("a.jpg", CONTENT, client_context())
            assert code == 226

    run(test, entrances=both)


def test_rein_ends_an_implicit_connection(both: tuple[Entrance, ...]) -> None:
    async def test(door: Door) -> None:
        async with door.stranger(entrance=1) as client:
            secure = await client.secure(client_context())
            await greeted(client)
            assert await client.say("REIN") == 220
            assert await secure.read() == b""
            secure.say_end()
            client.in_clear()
            assert await client.is_closed()

    run(test, entrances=both)


def test_a_credential_that_needs_tls_is_told_so_before_its_password(
    both: tuple[Entrance, ...],
) -> None:
    async def test(door: Door) -> None:
        shown = door.node.customer.shown
        async with door.stranger() as client:
            await greeted(client)
            await client.send(f"USER {shown.name}")
            code, text = await client.heard()
            assert code == 530
            assert "TLS" in text
            assert await client.say(f"USER {shown.name[:-1]}x") == 331, "nobody's name"
            await client.private(client_context())
            assert await client.sign_in() == 230
            assert await client.say("PROT C") == 534
            code, _ = await client.store_by_tls("a.jpg", CONTENT, client_context())
            assert code == 226

    run(test, entrances=both, customer=Strict())


def test_data_in_clear_is_refused_where_tls_is_required(both: tuple[Entrance, ...]) -> None:
    async def test(door: Door) -> None:
        async with door.stranger() as client:
            await greeted(client)
            assert await client.say("USER nobody") == 530, "no name is taken in clear here"
            assert await client.say("AUTH TLS") == 234
            await client.secure(client_context())
            assert await client.sign_in() == 230
            await client.passive()
            assert await client.say("STOR a.jpg") == 521
            assert await client.say("LIST") == 521
            assert await client.say("PBSZ 0") == 200
            assert await client.say("PROT P") == 200
            code, _ = await client.store_by_tls("a.jpg", CONTENT, client_context())
            assert code == 226

    run(test, entrances=both, policy=Policy(is_required=True))


def test_p02_narrow_suites_of_tls_1_2_and_the_same_name_twice(tmp_path: Path) -> None:
    # A body that knows no AEAD, and wants RSA.
    body = client_context(suites="ECDHE-RSA-AES128-SHA256", most=ssl.TLSVersion.TLSv1_2)
    server = certified(tmp_path, is_rsa=True).context("ftp", age=Age.CAMERA)

    async def test(door: Door) -> None:
        async with door.stranger() as client:
            await greeted(client)
            secure = await client.private(body)
            assert secure.object.version() == "TLSv1.2"
            assert await client.sign_in() == 230
            for folder in ("DCIM", "DCIM/100MSDCF"):
                assert await client.say(f"MKD {folder}") == 257
            for content in (b"first", b"second"):
                code, _ = await client.store_by_tls("DCIM/100MSDCF/DSC0001.JPG", content, body)
                assert code == 226
        assert [content for _, content in await door.committed()] == [b"first", b"second"]

    run(test, entrances=(Entrance(server),))


def test_p12_tls_1_1_on_the_listener_for_it_and_nowhere_else(tmp_path: Path) -> None:
    certificate = certified(tmp_path, is_rsa=True)
    legacy, normal = (certificate.context("ftp", age=age) for age in (Age.LEGACY, Age.CAMERA))

    async def test(door: Door) -> None:
        async with door.stranger() as client:
            await greeted(client)
            secure = await client.private(client_context(suites=OLD, most=TLS_1_1))
            assert secure.object.version() == "TLSv1.1"
            assert await client.sign_in() == 230
            body = client_context(suites=OLD, most=TLS_1_1)
            code, _ = await client.store_by_tls("a.jpg", CONTENT, body)
            assert code == 226
        async with door.stranger(entrance=1) as client:
            await greeted(client)
            assert await client.say("AUTH TLS") == 234
            with pytest.raises(ssl.SSLError, match="protocol"):
                await client.secure(client_context(suites=OLD, most=TLS_1_1))

    run(test, entrances=(Entrance(legacy), Entrance(normal)))


@pytest.mark.parametrize(
    ("protocols", "is_taken"),
    [(("ftp",), True), (("http/1.1", "h2"), False), (("h2", "ftp"), True)],
)
def test_who_came_for_another_protocol_is_not_served(
    both: tuple[Entrance, ...], protocols: tuple[str, ...], is_taken: bool
) -> None:
    async def test(door: Door) -> None:
        async with door.stranger(entrance=1) as client:
            if is_taken:
                secure = await client.secure(client_context(protocols=protocols))
                assert secure.object.selected_alpn_protocol() == "ftp"
                await greeted(client)
            else:
                with pytest.raises(ssl.SSLError, match="no application protocol"):
                    await client.secure(client_context(protocols=protocols))
                assert await client.is_closed()

    run(test, entrances=both)


def test_who_came_for_another_name_is_not_served_where_names_are_set(
    both: tuple[Entrance, ...],
) -> None:
    async def test(door: Door) -> None:
        for name in ("localhost", None):
            async with door.stranger(entrance=1) as client:
                await client.secure(client_context(), name=name)
                await greeted(client)
        async with door.stranger(entrance=1) as client:
            with pytest.raises(ssl.SSLError, match="unrecognized"):
                await client.secure(client_context(), name="www.example.org")

    run(test, entrances=both, policy=Policy(names=frozenset({"localhost"})))


def test_a_new_certificate_serves_the_next_handshake_and_cuts_nobody(tmp_path: Path) -> None:
    certificate = certified(tmp_path)

    async def test(door: Door) -> None:
        async with door.stranger() as early, door.stranger() as late:
            for client in (early, late):
                await greeted(client)
            before = await early.private(client_context())
            assert await early.sign_in() == 230
            make_certificate(tmp_path)
            assert certificate.reload()
            after = await late.private(client_context())
            served = [each.object.getpeercert(binary_form=True) for each in (before, after)]
            assert served[0] != served[1]
            code, data = await early.store_by_tls("a.jpg", CONTENT, client_context())
            assert code == 226
            assert data.object.getpeercert(binary_form=True) == served[1]

    run(test, entrances=(Entrance(certificate.context("ftp", age=Age.CAMERA)),))


def test_who_is_sent_away_hears_it_in_tls_and_who_shakes_hands_holds_nobody_up(
    both: tuple[Entrance, ...],
) -> None:
    async def test(door: Door) -> None:
        async with door.stranger() as idle, door.stranger() as slow, door.stranger(entrance=1):
            await greeted(idle)
            secure = await idle.private(client_context())
            await greeted(slow)
            assert await slow.say("AUTH TLS") == 234
            async with asyncio.timeout(5):
                await door.door.close()
            assert (await idle.heard())[0] == 421
            assert await secure.read() == b"", "a close_notify"
            assert await slow.is_closed()
            assert door.door.sessions == 0

    run(test, entrances=both)


@LOOPS
def test_abor_and_noop_are_heard_in_tls_during_a_transfer(
    both: tuple[Entrance, ...], uvloop: bool
) -> None:
    async def test(door: Door) -> None:
        async with door.stranger() as client:
            await greeted(client)
            context = client_context()
            await client.private(context)
            assert await client.sign_in() == 230
            reader, writer = await dialled(await client.passive())
            assert await client.say("STOR a.jpg") == 150
            data = await Secure(reader, writer, context).handshake()
            data.write(CONTENT)
            assert await client.say("NOOP") == 200
            await client.send("ABOR")
            assert [(await client.heard())[0] for _ in range(2)] == [426, 226]
            writer.close()
            code, _ = await client.store_by_tls("b.jpg", CONTENT, context)
            assert code == 226
            assert [content for _, content in await door.committed()] == [CONTENT]

    run(test, uvloop=uvloop, entrances=both)


def test_a_lost_control_connection_by_tls_is_a_cut(both: tuple[Entrance, ...]) -> None:
    async def test(door: Door) -> None:
        async with door.stranger() as client:
            await greeted(client)
            context = client_context()
            secure = await client.private(context)
            assert await client.sign_in() == 230
            reader, writer = await dialled(await client.passive())
            assert await client.say("STOR a.jpg") == 150
            data = await Secure(reader, writer, context).handshake()
            data.write(CONTENT)
            await asyncio.sleep(0.05)
            secure.say_end()
            async with asyncio.timeout(10):
                while door.door.sessions:  # noqa: ASYNC110 - the door tells nobody
                    await asyncio.sleep(0.01)
            assert await door.committed() == []
            writer.close()

    run(test, entrances=both)
