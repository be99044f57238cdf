"""A test on a real loop, with sockets, processes and time that passes.

It also proves that the test tidied up: a task, transport, socket or process left over fails it.
"""

import asyncio
import gc
import warnings
from collections.abc import Coroutine
from typing import Any, TypeVar

import psutil
import uvloop as uv

T = TypeVar("T")

_LEAVING_S = 10.0  # what was closed last needs some turns of the loop, and a TLS peer's answer
_TURN_S = 0.01


def real_loop(
    main: Coroutine[Any, Any, T], *, uvloop: bool = False, leaving_s: float = _LEAVING_S
) -> T:
    """Run *main* on a real loop and return its result.

    The loop is in debug mode if PYTHONASYNCIODEBUG says so.  Raises ``AssertionError`` when
    *main* ends well and leaves something over, *leaving_s* seconds after its end.
    """
    factory = uv.new_event_loop if uvloop else asyncio.new_event_loop
    children = set(psutil.Process().children())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        with asyncio.Runner(loop_factory=factory) as runner:
            result = runner.run(main)
            left = runner.run(_left_over(children, leaving_s))
        gc.collect()  # what has no owner any more complains now, not in the next test
    left += [str(warning.message) for warning in caught]
    assert not left, f"left over: {left}"
    return result


async def _left_over(children: set[psutil.Process], leaving_s: float) -> list[str]:
    """Return what is still there when what was closed has had its time to leave."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + leaving_s
    while True:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        # Only asyncio's own loop lists its transports; uvloop warns when it is closed.
        transports = list(getattr(loop, "_transports", {}).values())
        processes = set(psutil.Process().children()) - children
        left = [repr(task) for task in tasks]
        left += [repr(transport) for transport in transports if not transport.is_closing()]
        left += [repr(process) for process in processes]
        if not left:
            return left
        if loop.time() > deadline_s:
            for process in processes:
                process.kill()
            await asyncio.sleep(10 * _TURN_S)  # the loop hears of it before it is closed
            return left
        await asyncio.sleep(_TURN_S)
