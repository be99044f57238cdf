"""One side of a fleet stream as a program of its own, for tests that stop or kill it.

``python -m tests.support.stream_peer serve`` prints its port and echoes; ``... dial PORT`` sends
one message and then waits for the end.
"""

import asyncio
import sys

from tests.support.stream_suite import Fleet, dialler, echo, request
from zentransfer.rpc import server
from zentransfer.stream import StreamClosed


async def serve() -> None:
    async with server("127.0.0.1:0", Fleet(echo).register) as port:
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


async def dial(port: int) -> None:
    async with dialler(port) as to:
        stream = await to.dial()
        await stream.send(request(1))
        try:
            await stream.receive()
        except StreamClosed:
            return


if __name__ == "__main__":
    with asyncio.Runner() as runner:
        runner.run(serve() if sys.argv[1] == "serve" else dial(int(sys.argv[2])))
