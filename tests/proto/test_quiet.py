import subprocess
import sys

import pytest

CALL = """
import asyncio
from zentransfer import rpc
from zentransfer.v1.fleet_pb2 import ConnectRequest
from zentransfer.v1.fleet_pb2_grpc import FleetServiceStub
import grpc

async def main():
    async with rpc.channel("127.0.0.1:1") as channel:
        try:
            await FleetServiceStub(channel).Connect(iter([ConnectRequest()]), timeout=2).read()
        except grpc.aio.AioRpcError:
            print("refused")

with asyncio.Runner() as runner:
    runner.run(main())
"""


@pytest.mark.peer
def test_grpc_writes_nothing_of_its_own_even_when_told_to_trace() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CALL],
        env={"GRPC_TRACE": "all", "GRPC_VERBOSITY": "DEBUG", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert (ran.stdout, ran.stderr) == ("refused\n", "")
