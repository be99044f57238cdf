import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ops.doctor.secured import contexts
from ops.doctor.seen import Lost, Mode, Said, Wanted
from ops.doctor.steps import Verdict
from ops.doctor.visit import CONTENT, Trust, Visit
from tests.support.certificates import make_certificate
from tests.support.doctor import SECRET, visited
from tests.support.ftp_server import GOOD, FtpServer, talking
from tests.support.ports import free_port
from tests.support.real_loop import real_loop
from zentransfer.clock import SystemClock
from zentransfer.limits import DOCTOR_ADDRESSES_MAX, DOCTOR_LINE_BYTES_MAX, DOCTOR_LINES_MAX

PASSIVE = {
    "PASV": "227 Entering Passive Mode (127,0,0,1,{high},{low})",
    "EPSV": "229 Entering Extended Passive Mode (|||{port}|)",
}


def broken(test: Callable[[FtpServer], Awaitable[None]], **more: Any) -> None:
    """Run *test* against a server that is told what to do."""

    async def main() -> None:
        async with FtpServer(**more).serving() as server:
            await test(server)

    real_loop(main())


def server_tls(folder: Path, **more: Any) -> tuple[ssl.SSLContext, Path]:
    certificate, key = make_certificate(folder, **more)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context, certificate


# -- TLS -----------------------------------------------------------------------------------------

EXPLICIT = GOOD | PASSIVE | {"AUTH": "234 go"}


@pytest.mark.parametrize("is_implicit", [False, True])
def test_a_server_with_tls_is_right_to_the_last_byte(tmp_path: Path, is_implicit: bool) -> None:
    tls, ca = server_tls(tmp_path)

    async def test(server: FtpServer) -> None:
        mode = Mode.IMPLICIT if is_implicit else Mode.EXPLICIT
        wanted = Wanted("127.0.0.1", server.port, mode, has_credential=True, uploads=True)
        seen, steps = await visited(wanted, user="camera", ca=ca)
        found = {name: one.verdict for name, one in steps.items()}
        looks = {"address", "size"}  # an address for a name, and a server that tells no sizes
        assert {name for name, one in found.items() if one is not Verdict.RIGHT} == looks, steps
        assert seen.old_body is not None
        assert seen.old_body.version == "TLSv1.2"
        assert [one.is_resumed for one in seen.passives] == [True, True]
        assert server.stored == [CONTENT]

    broken(test, answers=EXPLICIT, tls=tls, is_implicit=is_implicit)


def test_an_expired_certificate_is_named_and_keeps_the_password_here(tmp_path: Path) -> None:
    tls, ca = server_tls(tmp_path, days=-1)

    async def test(server: FtpServer) -> None:
        wanted = Wanted("127.0.0.1", server.port, has_credential=True)
        _, steps = await visited(wanted, user="camera", ca=ca)
        assert steps["validity"].verdict is Verdict.WRONG
        assert steps["name"].verdict is Verdict.RIGHT
        assert steps["sign-in"].verdict is Verdict.UNTRIED
        assert not any(one.startswith(("USER", "PASS")) for one in server.told)
        _, steps = await visited(replace(wanted, is_insecure=True), user="camera", ca=ca)
        assert steps["sign-in"].verdict is Verdict.RIGHT

    broken(test, answers=EXPLICIT, tls=tls)


def test_a_certificate_that_nobody_knows_is_named(tmp_path: Path) -> None:
    tls, _ = server_tls(tmp_path)

    async def test(server: FtpServer) -> None:
        wanted = Wanted("127.0.0.1", server.port, has_credential=True)
        _, steps = await visited(wanted, user="camera")
        assert steps["certificate"].verdict is Verdict.WRONG
        assert steps["sign-in"].verdict is Verdict.UNTRIED

    broken(test, answers=EXPLICIT, tls=tls)


def test_another_name_in_the_certificate_is_named(tmp_path: Path) -> None:
    tls, ca = server_tls(tmp_path)

    async def test(server: FtpServer) -> None:
        wanted = Wanted("127.0.0.2", server.port, has_credential=True)
        _, steps = await visited(wanted, user="camera", ca=ca)
        assert steps["name"].verdict is Verdict.WRONG
        assert "localhost" in steps["name"].said
        assert steps["sign-in"].verdict is Verdict.UNTRIED

    broken(test, answers=EXPLICIT, tls=tls, host="127.0.0.2")


def test_a_password_in_clear_is_sent_only_when_that_is_said() -> None:
    async def test(server: FtpServer) -> None:
        wanted = Wanted("127.0.0.1", server.port, Mode.EXPLICIT, has_credential=True)
        _, steps = await visited(wanted, user="camera")
        assert steps["encryption"].verdict is Verdict.WRONG
        assert steps["sign-in"].verdict is Verdict.UNTRIED
        _, steps = await visited(replace(wanted, mode=Mode.NONE), user="camera")
        assert steps["sign-in"].verdict is Verdict.RIGHT

    broken(test, answers=GOOD | PASSIVE)


# -- servers that are wrong ----------------------------------------------------------------------


def test_a_server_that_closes_after_its_greeting_is_told() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        writer.close()

    async def main() -> None:
        async with talking(talk) as port:
            wanted = Wanted("127.0.0.1", port, Mode.NONE, has_credential=True)
            seen, steps = await visited(wanted, user="camera")
        assert seen.user is Lost.CLOSED
        assert steps["greeting"].verdict is Verdict.RIGHT
        assert steps["sign-in"].verdict is Verdict.WRONG

    real_loop(main())


def test_a_server_that_takes_the_connection_and_is_silent_is_told() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def main() -> None:
        async with talking(talk) as port:
            seen, steps = await visited(Wanted("127.0.0.1", port), patience_s=0.2)
        assert seen.greeting is Lost.SILENT
        assert "--tls implicit" in steps["greeting"].cure

    real_loop(main())


def test_nobody_at_the_port_is_told() -> None:
    async def main() -> None:
        seen, steps = await visited(Wanted("127.0.0.1", free_port()))
        assert seen.dials[0].lost is Lost.REFUSED
        assert steps["connection"].verdict is Verdict.WRONG

    real_loop(main())


def test_a_private_address_in_the_answer_to_pasv_is_told_and_not_dialled() -> None:
    async def test(server: FtpServer) -> None:
        wanted = Wanted("127.0.0.1", server.port, Mode.NONE, has_credential=True)
        seen, steps = await visited(wanted, user="camera")
        assert "a private address, 10.1.2.3" in steps["data (PASV)"].said
        assert seen.passives[0].dial is not None
        assert seen.passives[0].dial.address == "127.0.0.1"
        assert steps["data (EPSV)"].verdict is Verdict.RIGHT

    lie = {"PASV": "227 Entering Passive Mode (10,1,2,3,{high},{low})"}
    broken(test, answers=GOOD | PASSIVE | lie)


def test_a_data_port_that_is_closed_is_told() -> None:
    async def test(server: FtpServer) -> None:
        wanted = Wanted("127.0.0.1", server.port, Mode.NONE, has_credential=True)
        _, steps = await visited(wanted, user="camera")
        for name in ("data (PASV)", "data (EPSV)"):
            assert steps[name].verdict is Verdict.WRONG
            assert "firewall" in steps[name].cure

    broken(test, answers=GOOD | PASSIVE, data_port=free_port())


def test_a_refusal_to_sign_in_is_told_in_the_servers_words_but_without_the_password() -> None:
    async def test(server: FtpServer) -> None:
        wanted = Wanted("127.0.0.1", server.port, Mode.NONE, has_credential=True)
        seen, steps = await visited(wanted, user="camera")
        assert seen.password == Said(530, "wrong: ****")
        assert steps["sign-in"].verdict is Verdict.WRONG

    broken(test, answers=GOOD | {"PASS": f"530 wrong: {SECRET}"})


def test_silence_is_kept_and_told() -> None:
    async def test(server: FtpServer) -> None:
        wanted = Wanted("127.0.0.1", server.port, Mode.NONE, has_credential=True, idle_s=0.05)
        _, steps = await visited(wanted, user="camera")
        assert steps["idle"].verdict is Verdict.RIGHT
        server.answers = server.answers | {"NOOP": "421 too late"}  # type: ignore[operator]
        _, steps = await visited(wanted, user="camera")
        assert steps["idle"].verdict is Verdict.LOOK

    broken(test, answers=GOOD | PASSIVE)


def test_the_servers_clock_is_compared_by_http() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nDate: Mon, 03 Nov 2025 01:23:45 GMT\r\n\r\n")
        writer.close()

    async def test(server: FtpServer) -> None:
        async with talking(talk) as port:
            wanted = Wanted("127.0.0.1", server.port, Mode.NONE, http_port=port)
            _, steps = await visited(wanted)
        assert "ahead of the server's" in steps["clock"].said

    broken(test)


def test_the_servers_clock_is_compared_by_the_time_of_the_test_file() -> None:
    async def test(server: FtpServer) -> None:
        wanted = Wanted("127.0.0.1", server.port, Mode.NONE, has_credential=True, uploads=True)
        _, steps = await visited(wanted, user="camera")
        assert "ahead of the server's" in steps["clock"].said

    broken(test, answers=GOOD | PASSIVE | {"MDTM": "213 20250101000000", "SIZE": "213 53"})


def test_a_name_without_addresses_is_told() -> None:
    async def main() -> None:
        seen, steps = await visited(Wanted("a..b", 21))
        assert not seen.dials
        assert steps["address"].verdict is Verdict.WRONG

    real_loop(main())


# -- bounds --------------------------------------------------------------------------------------


@pytest.mark.reaches("DOCTOR_LINE_BYTES_MAX", "DOCTOR_LINES_MAX")
@pytest.mark.parametrize(
    "flood",
    [b"220 " + b"x" * (DOCTOR_LINE_BYTES_MAX + 1), b"220-x\r\n" * (DOCTOR_LINES_MAX + 1)],
)
def test_what_is_too_much_for_a_reply_is_none(flood: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(flood + b"\r\n220 end\r\n")
        await reader.read()
        writer.close()

    async def main() -> None:
        async with talking(talk) as port:
            seen, _ = await visited(Wanted("127.0.0.1", port, Mode.NONE))
        assert seen.greeting is Lost.GARBLED

    real_loop(main())


def test_a_password_with_an_end_of_line_is_never_two_commands() -> None:
    async def test(server: FtpServer) -> None:
        wanted = Wanted("127.0.0.1", server.port, Mode.NONE, has_credential=True)
        seen, _ = await visited(wanted, user="camera", secret="a\r\nDELE b")
        assert seen.password is Lost.GARBLED
        assert not any(one.startswith("DELE") for one in server.told)

    broken(test)


@pytest.mark.reaches("DOCTOR_ADDRESSES_MAX")
def test_no_more_addresses_are_dialled_than_is_decent() -> None:
    async def main() -> None:
        port = free_port()
        many = [f"127.0.0.{number + 1}" for number in range(DOCTOR_ADDRESSES_MAX + 3)]
        wanted = Wanted("x", port)
        visit = Visit(wanted, None, Trust(*contexts(None)), SystemClock(), Random(1), 5)
        assert await visit._reached(many) is None
        assert len(visit._seen.dials) == DOCTOR_ADDRESSES_MAX

    real_loop(main())
