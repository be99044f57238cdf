"""Sends one file: does what ``sending`` says is next, and tells it what happened.

The rule: nothing is decided here.  What was begun and is not whole when the file is given up is
ended at its node, if that can be reached.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from ops.send import backoff, fate
from ops.send.client import Client
from ops.send.content import Content, Unreadable
from ops.send.nearby import Door
from ops.send.sending import ENDS, Known, Patience, Sending, Step
from ops.send.tus import Lost, Refused
from zentransfer.limits import SEND_LEAVE_S

_ENDED: Final = 204
_GONE: Final = (_ENDED, 404, 410)
_WHOLE_ALREADY: Final = 403


@dataclass(slots=True)
class Watch:
    """What is told of a file on its way: bytes given away, bytes durable, trouble in words."""

    moved: Callable[[int], None]
    stands: Callable[[Sending], None]


@dataclass(slots=True)
class Sender:
    """Sends files by *client*; *route* returns the doors in order when it is asked again."""

    client: Client
    control: str
    route: Callable[[], Awaitable[Sequence[Door]]]
    random: Random
    patience: Patience
    hint: str = ""
    """What is added to a refusal of the token."""
    unfinished: dict[int, Sending] = field(default_factory=dict)
    """Uploads under way, by the number of the file."""

    async def send(
        self, number: int, name: str, content: Content, door: Door, watch: Watch
    ) -> Sending:
        """Send *content* as *name*, beginning at *door*; return how that ended."""
        loop = asyncio.get_running_loop()
        state = Sending(content.size, door, loop.time(), self.patience)
        while state.step not in ENDS:
            self.unfinished[number] = state
            watch.stands(state)
            if state.is_hurt:
                await asyncio.sleep(backoff.pause_s(state.tries, self.random, state.retry_after_s))
            state = await self._stepped(state, number, name, content, watch)
        if state.step is Step.FAILED and not state.is_all_out:
            state = await self.ended(state)
        self.unfinished.pop(number, None)
        watch.stands(state)
        return state

    async def ended(self, state: Sending) -> Sending:
        """Return *state* after its upload was ended at its node, as far as that is reached.

        It has no URL then.  It turns out whole if the node says that it is not its sender's to end
        any more.
        """
        if not state.url:
            return state
        status = await self.terminated(state.url)
        if status == _WHOLE_ALREADY and state.is_all_out:
            return replace(state, step=Step.WHOLE)
        return replace(state, url="") if status in _GONE else state

    async def terminated(self, url: str) -> int:
        """End the upload at *url*; return the status that its node answered, 0 if it is away."""
        try:
            async with asyncio.timeout(SEND_LEAVE_S):
                await self.client.terminate(url)
        except Refused as exc:
            return exc.status
        except (Lost, TimeoutError):
            return 0  # it ends by itself when nobody goes on with it
        return _ENDED

    async def _stepped(
        self, state: Sending, number: int, name: str, content: Content, watch: Watch
    ) -> Sending:
        """Do the step of *state* and return what it became."""
        reached = [state]

        def moved(at: int) -> None:
            if at == content.size:
                reached[0] = self.unfinished[number] = state.all_out()
            watch.moved(at)

        try:
            if state.step is Step.APPEND:
                span = (state.offset, state.end)
                offset = await self.client.append(state.url, content, span, moved)
                return reached[0].appended(offset, _now_s())
            return await self._asked(state, name)
        except Unreadable as exc:
            return reached[0].gave_up(str(exc))
        except Refused as exc:
            return reached[0].refused(exc.hinted(self.hint), _now_s())
        except Lost as exc:
            return reached[0].lost(str(exc), _now_s())

    async def _asked(self, state: Sending, name: str) -> Sending:
        match state.step:
            case Step.CREATE:
                return state.created(await self.client.create(state.door.http, name, state.size))
            case Step.LOOK:
                return state.found(await self.client.look(state.url), _now_s())
            case Step.TERMINATE:
                await self.client.terminate(state.url)
                return state.terminated()
            case Step.ROUTE:
                return state.routed(await self.route())
            case _:
                return state.confirmed(await self._known(state.upload), _now_s())

    async def _known(self, upload: str) -> Known:
        try:
            document = await self.client.upload(self.control, upload)
        except (Lost, Refused):
            return Known.UNKNOWN
        return fate.known(document)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
