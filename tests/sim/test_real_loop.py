import asyncio
import socket
import sys

import psutil
import pytest

from tests.support.real_loop import real_loop

both_loops = pytest.mark.parametrize("uvloop", [False, True])


@both_loops
def test_a_tidy_test_gets_its_result(uvloop: bool) -> None:
    async def main() -> bytes:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(5))
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
        return answer

    assert real_loop(main(), uvloop=uvloop) == b"hello"


@both_loops
def test_the_chosen_loop_runs(uvloop: bool) -> None:
    async def main() -> str:
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    assert real_loop(main(), uvloop=uvloop) == ("uvloop" if uvloop else "asyncio")


@both_loops
def test_a_task_that_is_left_over_fails_the_test(uvloop: bool) -> None:
    async def main() -> None:
        asyncio.get_running_loop().create_task(asyncio.sleep(60), name="forgotten")

    with pytest.raises(AssertionError, match="forgotten"):
        real_loop(main(), uvloop=uvloop, leaving_s=0.5)


@both_loops
def test_a_transport_that_is_left_open_fails_the_test(uvloop: bool) -> None:
    near, far = socket.socketpair()

    async def main() -> None:
        await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=near)

    with near, far, pytest.raises(AssertionError, match=r"left over: .*(?i:transport)"):
        real_loop(main(), uvloop=uvloop, leaving_s=0.5)


@both_loops
def test_a_process_that_is_left_running_fails_the_test_and_is_ended(uvloop: bool) -> None:
    pids: list[int] = []

    async def main() -> None:
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=-1)
        pids.append(child.pid)

    with pytest.raises(AssertionError, match=r"left over: .*psutil.Process"):
        real_loop(main(), uvloop=uvloop, leaving_s=0.5)
    psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=5)
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_failing_test_fails_for_its_own_reason() -> None:
    async def main() -> None:
        asyncio.get_running_loop().create_task(asyncio.sleep(60))
        raise LookupError("the reason")

    with pytest.raises(LookupError, match="the reason"):
        real_loop(main())
