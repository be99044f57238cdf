"""All of one ``zentransfer send``: asks where, sends several files at once, follows them, reports.

The rule: every file that was named ends in exactly one result, also when a person stops it.
"""

import asyncio
import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from ops.send import fate as fates
from ops.send import names, nearby, report
from ops.send.backoff import pause_s
from ops.send.client import Client, Waits
from ops.send.content import Content, Unreadable
from ops.send.fate import End, Fate
from ops.send.files import Wanted
from ops.send.follower import Follower
from ops.send.nearby import Door, Nearby
from ops.send.report import Result, State, Whole
from ops.send.screen import Screen
from ops.send.sender import Sender, Watch
from ops.send.sending import Patience, Sending, Step
from ops.send.tus import Lost, Refused
from zentransfer.ids import Region

_STATES: Final = {End.DELIVERED: State.DELIVERED, End.WAITS: State.TAKEN, End.FAILED: State.FAILED}
_ROUNDS: Final = 4  # of asking everybody where to go, before it is said that nobody answers


class NobodyAnswers(Exception):
    """It could not be found out where to send; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done: the files, where control and, if known, nodes are, and how patiently.

    ``token`` is a secret; ``region`` is ``None`` for the nearest.
    """

    files: Sequence[Wanted]
    control: str
    nodes: Sequence[str]
    token: str
    region: Region | None = None
    lab_client: str | None = None
    at_once: int = 4
    waits: Waits = field(default_factory=Waits)
    patience: Patience = field(default_factory=Patience)
    follow_s: float = 0.0
    """How long deliveries are waited for; 0: not at all."""
    in_json: bool = False
    hint: str = ""
    """What is added to a refusal of the token: where it came from."""


class Run:
    """One run of *plan*, shown on *screen*."""

    def __init__(self, plan: Plan, screen: Screen, random: Random) -> None:
        self._plan = plan
        self._screen = screen
        self._random = random
        self._client = Client(plan.token, plan.waits, plan.lab_client)
        self._follower = Follower(self._ask_control, plan.follow_s, random)
        self._nearby = Nearby((), "")
        self._began_s = asyncio.get_running_loop().time()
        self._is_interrupted = False
        self._results = {
            number: Result(str(one.path), one.name, one.size)
            for number, one in enumerate(plan.files)
        }
        self._said: set[int] = set()
        self._left: list[str] = []
        self._sent: dict[int, int] = {}  # bytes given away, of each file
        self._labels: dict[str, str] | None = None
        patience = plan.patience
        self._sender = Sender(
            self._client, plan.control, self._asked_again, random, patience, plan.hint
        )

    async def run(self) -> int:
        """Send everything and return the exit code; raises :class:`NobodyAnswers`."""
        try:
            with _interrupting(self._interrupt), ExitStack() as stack:
                try:
                    await self._send_all(stack)
                except asyncio.CancelledError:
                    if not self._is_interrupted:
                        raise
                    _uncancel()
                    await self._leave()
                await self._end_left()
            return self._report()
        finally:
            self._screen.end()
            await self._client.close()

    async def _send_all(self, stack: ExitStack) -> None:
        plan = self._plan
        await self._ask()
        good = [number for number, one in enumerate(plan.files) if not one.problem]
        size = sum(plan.files[number].size for number in good)
        self._sender.patience = replace(plan.patience, may_move=self._may_move)
        if not plan.in_json:
            self._screen.say(self._heading(len(good), size))
            if any(names.is_changed(plan.files[number].name) for number in good):
                self._screen.say("Not every system holds a colon in a name: each arrives as _.")
        self._screen.begin(len(plan.files), size)
        for number, one in enumerate(plan.files):
            if one.problem:
                self._fail(number, one.problem)
        executor = stack.enter_context(ThreadPoolExecutor(plan.at_once, "send-read"))
        queue = iter(good)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(plan.at_once, len(good))):
                tasks.create_task(self._work(queue, tasks, executor))

    async def _work(
        self, queue: Iterator[int], tasks: asyncio.TaskGroup, executor: Executor
    ) -> None:
        for number in queue:
            if await self._upload(number, executor):
                tasks.create_task(self._follow(number))

    # -- where to ------------------------------------------------------------------------------

    @property
    def _may_move(self) -> bool:
        """Whether another region may take what one does not: not against a person or a pin."""
        return self._plan.region is None and self._nearby.reason != "pinned"

    async def _ask(self) -> None:
        """Find out where to send; raises :class:`NobodyAnswers`."""
        why = ""
        for tries in range(_ROUNDS):
            if tries:
                await asyncio.sleep(pause_s(tries, self._random))
            for at in (self._plan.control, *self._plan.nodes):
                try:
                    self._nearby = nearby.within(await self._client.route(at), self._plan.region)
                except Refused as exc:
                    raise NobodyAnswers(
                        f"{at} refuses: {exc.hinted(self._plan.hint).words}"
                    ) from exc
                except nearby.Unusable as exc:
                    raise NobodyAnswers(str(exc)) from exc
                except Lost as exc:
                    why = why or str(exc)
                else:
                    return
        raise NobodyAnswers(
            f"{self._plan.control} does not answer: {why}. Is it running, and is --control right?"
        )

    async def _asked_again(self) -> Sequence[Door]:
        """Return the doors in the order of now; as last known, if nobody answers."""
        nodes = [door.http for door in self._nearby.doors] if self._may_move else []
        for at in (self._plan.control, *nodes):
            try:
                self._nearby = nearby.within(await self._client.route(at), self._plan.region)
            except (Lost, Refused, nearby.Unusable):
                continue
            break
        return self._nearby.doors

    def _heading(self, count: int, size: int) -> str:
        if not count:
            return "Nothing of what you named can be sent."
        files = "1 file" if count == 1 else f"{count} files"
        attribution = self._nearby.attribution if nearby.is_by_place(self._nearby) else ()
        source = "".join(f" ({line})" for line in attribution)
        first, why = self._nearby.doors[0].region, nearby.why(self._nearby)
        return f"Sending {files}, {report.amount(size)}, to {first}: {why}{source}."

    # -- one file ------------------------------------------------------------------------------

    async def _upload(self, number: int, executor: Executor) -> bool:
        """Send a file; says whether it is to be followed."""
        wanted, began_s = self._plan.files[number], _now_s()
        self._screen.sending(number, wanted.name, wanted.size)
        watch = Watch(lambda at: self._moved(number, at), lambda state: self._stands(number, state))
        content = Content(wanted.path, executor)
        try:
            await content.open()
            door = self._nearby.doors[0]
            ended = await self._sender.send(number, wanted.name, content, door, watch)
            digest = await content.digest() if ended.step is Step.WHOLE else None
        except Unreadable as exc:
            self._fail(number, str(exc))
            return False
        finally:
            await content.close()
        kept = replace(self._kept(number, ended), size=content.size, sha256=digest)
        self._results[number] = replace(kept, seconds=_now_s() - began_s)
        if ended.step is not Step.WHOLE:
            self._fail(number, ended.why)
            return False
        self._screen.uploaded(number)
        if not self._plan.follow_s or not ended.upload:
            self._end(number, self._results[number])
            return False
        return True

    def _moved(self, number: int, at: int) -> None:
        self._sent[number] = at
        self._screen.at(number, at)

    def _stands(self, number: int, state: Sending) -> None:
        self._screen.at(number, state.offset)
        self._screen.trouble(number, state.why if state.is_hurt else "")

    async def _follow(self, number: int) -> None:
        result, began_s = self._results[number], _now_s()
        assert result.upload is not None
        assert result.sha256 is not None
        fate = await self._follower.follow(
            result.upload, result.sha256, lambda fate: self._told(number, fate)
        )
        ended = replace(
            result,
            state=_STATES[fate.end],
            error="" if fate.end is End.DELIVERED else fate.words,
            seconds=result.seconds + _now_s() - began_s,
            deliveries=fate.deliveries,
        )
        self._end(number, ended)

    async def _ask_control(self, upload: str) -> Mapping[str, object] | None:
        document = await self._client.upload(self._plan.control, upload)
        if document is None or not fates.are_waiting(document):
            return document
        if not self._labels:
            self._labels = await self._client.labels(self._plan.control)
        return fates.named(document, self._labels)

    def _told(self, number: int, fate: Fate) -> None:
        self._results[number] = replace(self._results[number], deliveries=fate.deliveries)

    def _kept(self, number: int, ended: Sending) -> Result:
        was = self._results[number]
        self._left += ended.left
        return replace(
            was,
            state=State.UPLOADED if ended.step is Step.WHOLE else was.state,
            region=ended.door.region,
            upload=ended.upload or None,
            interruptions=ended.interruptions,
        )

    def _fail(self, number: int, why: str) -> None:
        self._end(number, replace(self._results[number], state=State.FAILED, error=why))

    def _end(self, number: int, result: Result) -> None:
        self._results[number] = result
        self._said.add(number)
        is_good = report.is_good(result, waits=self._plan.follow_s > 0)
        said = report.json_line(result) if self._plan.in_json else report.line(result)
        self._screen.ended(number, said, is_good=is_good)

    # -- the end -------------------------------------------------------------------------------

    def _interrupt(self, task: "asyncio.Task[object]") -> None:
        self._is_interrupted = True
        task.cancel()

    async def _leave(self) -> None:
        """End what is unfinished at its node, and account for everything that has no result."""
        async with asyncio.TaskGroup() as tasks:
            for number, state in self._sender.unfinished.items():
                tasks.create_task(self._stop(number, state))
        for number, result in self._results.items():
            if number not in self._said:
                self._end(number, report.stopped(result))

    async def _stop(self, number: int, state: Sending) -> None:
        ended = await self._sender.ended(state)
        self._results[number] = self._kept(number, ended)
        if ended.is_all_out and ended.step is not Step.WHOLE:
            error = "it was all sent, and may have arrived: look before you send it again"
            self._results[number] = replace(self._results[number], error=error)
        elif sent := self._sent.get(number, 0) if state.url else 0:
            gone = report.lost(sent, state.size, state.door.region, is_ended=not ended.url)
            self._results[number] = replace(self._results[number], error=gone)

    async def _end_left(self) -> None:
        """End what was left behind, now that its node may be back."""
        async with asyncio.TaskGroup() as tasks:
            urls, self._left = self._left, []
            asked = [(url, tasks.create_task(self._sender.terminated(url))) for url in urls]
        self._left = [url for url, answer in asked if not answer.result()]

    def _whole(self) -> Whole:
        return Whole(
            list(self._results.values()),
            _now_s() - self._began_s,
            self._nearby.reason,
            self._nearby.attribution,
            self._is_interrupted,
            waits=self._plan.follow_s > 0,
            left=len(self._left),
        )

    def _report(self) -> int:
        whole = self._whole()
        self._screen.end()
        self._screen.say(
            report.json_summary(whole) if self._plan.in_json else report.summary(whole)
        )
        return whole.exit_code


@contextmanager
def _interrupting(interrupt: Callable[["asyncio.Task[object]"], None]) -> Generator[None]:
    """Call *interrupt* with this task at the first signal to leave; the second one ends us."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    numbers = (signal.SIGINT, signal.SIGTERM)

    def on_signal() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)
        interrupt(task)

    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _uncancel() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
