from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from tests.support.stream_suite import CASES, Case, Dial, Fleet, dialler
from zentransfer.network import Faults, MemoryNetwork
from zentransfer.rpc import server
from zentransfer.stream import Handler, StreamClosed

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)


@asynccontextmanager
async def over_memory(handler: Handler) -> AsyncIterator[Dial]:
    async with MemoryNetwork(Random(1)) as network:
        network.listen("control", handler)
        yield lambda: network.dial("fr-1", "control")


@asynccontextmanager
async def over_slow_memory(handler: Handler) -> AsyncIterator[Dial]:
    async with MemoryNetwork(Random(1), Faults(delay_min_s=0.001, delay_max_s=0.002)) as network:
        network.listen("control", handler)
        yield lambda: network.dial("fr-1", "control")


@asynccontextmanager
async def over_grpc(handler: Handler) -> AsyncIterator[Dial]:
    async with server("127.0.0.1:0", Fleet(handler).register) as port, dialler(port) as to:
        yield to.dial


@pytest.mark.parametrize("form", [over_memory, over_slow_memory])
@every_case
def test_a_stream_in_memory(form: type, case: Case) -> None:
    simulate(case(form))


@pytest.mark.reaches("RPC_MESSAGE_BYTES_MAX")
@pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
@every_case
def test_a_stream_over_grpc(case: Case, uvloop: bool) -> None:
    real_loop(case(over_grpc), uvloop=uvloop)


def test_an_end_is_raised_anew_for_each_who_asks() -> None:
    end = StreamClosed("over", "draining", 3)
    assert end.again() is not end
    assert (end.again().detail, end.again().code, end.again().retry_after_s) == (
        "over",
        "draining",
        3,
    )
