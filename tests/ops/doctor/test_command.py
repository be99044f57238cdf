import asyncio
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ops.cli import main
from ops.doctor.line import Line, dialled
from ops.doctor.settings import DoctorSettings
from tests.support.doctor import SECRET
from tests.support.ftp_server import GOOD, FtpServer, talking
from tests.support.real_loop import real_loop
from tests.support.settings_rules import check_settings
from zentransfer.limits import (
    DOCTOR_ANSWER_S,
    DOCTOR_IDLE_S_MAX,
    DOCTOR_LIST_BYTES_MAX,
    DOCTOR_PASSWORD_BYTES_MAX,
)

ANSWERS = GOOD | {"EPSV": "229 (|||{port}|)", "PASV": "227 (127,0,0,1,{high},{low})"}


@contextmanager
def serving(server: FtpServer) -> Generator[FtpServer]:
    """Serve beside the test, which runs a loop of its own."""
    is_up, is_over = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def life() -> None:
        loops.append(asyncio.get_running_loop())
        async with server.serving():
            is_up.set()
            await is_over.wait()

    thread = threading.Thread(target=real_loop, args=(life(),))
    thread.start()
    assert is_up.wait(20)
    try:
        yield server
    finally:
        loops[0].call_soon_threadsafe(is_over.set)
        thread.join(20)


def asked(*words: str, password: str | None = SECRET) -> Result:
    environment = {"ZT_DOCTOR_PASSWORD": password}
    return CliRunner().invoke(main, ["doctor", "ftp", *words], env=environment)


def test_a_table_and_what_to_do_are_printed() -> None:
    with serving(FtpServer(ANSWERS)) as server:
        done = asked(
            "127.0.0.1", "--port", str(server.port), "--user", "camera", "--http-port", "0"
        )
    assert done.exit_code == 0, done.output
    assert "Nothing that was tried would stop a camera." in done.output
    assert "Name and password are right." in done.output
    assert f"PASS {SECRET}" in server.told
    assert SECRET not in done.output


def test_json_tells_the_same_and_the_exit_code_says_whether_a_camera_fails() -> None:
    with serving(FtpServer(ANSWERS | {"PASS": "530 no"})) as server:
        where = ["127.0.0.1", "--port", str(server.port), "--user", "camera", "--http-port", "0"]
        done = asked(*where, "--json")
    assert done.exit_code == 1
    told = json.loads(done.output)
    assert told["exit_code"] == 1
    (sign_in,) = [one for one in told["steps"] if one["name"] == "sign-in"]
    assert sign_in["verdict"] == "wrong"
    assert sign_in["cure"]
    assert SECRET not in done.output


def test_the_password_comes_from_a_file_or_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("from-a-file\r\n")
    with serving(FtpServer(ANSWERS)) as server:
        where = ["127.0.0.1", "--port", str(server.port), "--user", "camera", "--http-port", "0"]
        asked(*where, "--password-file", str(path), password=None)
        CliRunner().invoke(main, ["doctor", "ftp", *where], input="typed-in\n")
    assert [one for one in server.told if one.startswith("PASS")] == [
        "PASS from-a-file", "PASS typed-in",
    ]  # fmt: skip


@pytest.mark.reaches("DOCTOR_IDLE_S_MAX", "DOCTOR_PASSWORD_BYTES_MAX")
def test_what_was_mistyped_is_named(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("x" * (DOCTOR_PASSWORD_BYTES_MAX + 1))
    none = tmp_path / "none"
    for words, said in [
        (["ftp://example.com/in"], "bare name"),
        (["localhost", "--upload"], "--upload needs --user"),
        (["localhost", "--idle", str(DOCTOR_IDLE_S_MAX + 1)], "not in the range"),
        (["localhost", "--user", "u", "--password-file", str(path)], "too long"),
        (["localhost", "--user", "u", "--password-file", str(none)], "cannot be read"),
        (["localhost", "--ca-file", str(path)], "holds no certificates"),
    ]:
        done = asked(*words)
        assert done.exit_code == 2, words
        assert said in " ".join(done.output.split()), words


def test_every_help_has_examples() -> None:
    done = CliRunner().invoke(main, ["doctor", "ftp", "--help"])
    assert done.output.count("  zentransfer doctor ftp") >= 3


def test_its_settings_are_as_all_settings_are() -> None:
    check_settings(DoctorSettings)


@pytest.mark.reaches("DOCTOR_LIST_BYTES_MAX")
def test_a_list_without_end_is_left_after_a_while() -> None:
    sent = 0

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            while not writer.is_closing():
                writer.write(bytes(65_536))
                await writer.drain()
                sent += 65_536
        except OSError:
            pass
        writer.close()

    async def main_() -> None:
        async with talking(talk) as port:
            _, line = await dialled("127.0.0.1", port, 20)
            assert isinstance(line, Line)
            assert await line.read_all() is None
            await line.close()

    real_loop(main_())
    assert sent >= DOCTOR_LIST_BYTES_MAX


@pytest.mark.reaches("DOCTOR_ANSWER_S")
def test_every_answer_has_its_time_unless_another_is_given() -> None:
    done = CliRunner().invoke(main, ["doctor", "ftp", "--help"])
    assert f"[{DOCTOR_ANSWER_S:.0f}]" in done.output
    assert "--timeout" in done.output
