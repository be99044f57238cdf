import asyncio
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from ops.send.fate import End, Fate
from ops.send.follower import Follower
from ops.send.tus import Lost, Refused
from tests.support.sim import simulate
from zentransfer.limits import (
    SEND_AWAY_S,
    SEND_POLL_FIRST_S,
    SEND_POLL_MAX_S,
    SEND_POLLS_MAX,
    SEND_SETTLE_S,
)

DELIVERY = {"destination": "d", "state": "delivered", "attempts": 1, "error": None}
DONE = {"state": "destroyed", "deliveries": [DELIVERY], "digest": "sha256:ab"}


class Control:
    """Answers by a script of times (seconds) and what is said from then on."""

    def __init__(self, *said: tuple[float, Any]) -> None:
        self._said = said
        self.asked_s: list[float] = []
        self.at_once = self.at_once_max = 0

    async def ask(self, _: str) -> Mapping[str, object] | None:
        now_s = asyncio.get_running_loop().time()
        self.asked_s.append(now_s)
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        await asyncio.sleep(0.1)
        self.at_once -= 1
        saying = [what for at_s, what in self._said if at_s <= now_s]
        if not saying:
            return None
        if isinstance(saying[-1], Exception):
            raise saying[-1]
        found: Mapping[str, object] | None = saying[-1]
        return found


def followed(control: Control, for_s: float = 100.0) -> tuple[Fate, list[Fate], float]:
    async def main() -> tuple[Fate, list[Fate], float]:
        told: list[Fate] = []
        fate = await Follower(control.ask, for_s, Random(1)).follow("up_", "ab", told.append)
        return fate, told, asyncio.get_running_loop().time()

    return simulate(main())


@pytest.mark.reaches("SEND_POLL_FIRST_S", "SEND_POLL_MAX_S")
def test_it_asks_ever_more_rarely_until_something_happens() -> None:
    control = Control((50.0, {"state": "delivering"}), (60.0, DONE))
    fate, told, ended_s = followed(control)
    assert fate.end is End.DELIVERED
    assert [one.end for one in told] == [End.UNDER_WAY, End.DELIVERED]
    assert ended_s < 60 + 1.3 * SEND_POLL_MAX_S
    pauses = [b - a for a, b in zip(control.asked_s, control.asked_s[1:], strict=False)]
    assert pauses[0] < 2 * SEND_POLL_FIRST_S + 0.1
    assert SEND_POLL_MAX_S < max(pauses) <= 1.25 * SEND_POLL_MAX_S + 0.1
    assert len(control.asked_s) < 40


def test_a_control_that_is_away_is_waited_for() -> None:
    control = Control((0.0, Lost("gone")), (5.0, Refused(503, "busy")), (10.0, DONE))
    assert followed(control)[0].end is End.DELIVERED


@pytest.mark.reaches("SEND_AWAY_S")
def test_a_control_that_stays_away_is_said_and_not_waited_for_to_the_end() -> None:
    fate, _, ended_s = followed(Control((0.0, Lost("gone"))), 3600.0)
    assert fate.end is End.WAITS
    assert fate.words.startswith("control does not answer, so its delivery cannot be followed")
    assert SEND_AWAY_S < ended_s < SEND_AWAY_S + 10
    back = Control((0.0, Lost("")), (SEND_AWAY_S - 10, {}), (SEND_AWAY_S, Lost("")), (50.0, DONE))
    assert followed(back)[0].end is End.DELIVERED


def test_who_may_not_look_is_told_at_once() -> None:
    fate, _, ended_s = followed(Control((0.0, Refused(401, "no"))))
    assert (fate.end, fate.words) == (End.WAITS, "its delivery cannot be followed: no")
    assert ended_s < 1


@pytest.mark.reaches("SEND_SETTLE_S")
def test_reports_may_come_after_the_destruction_but_not_for_ever() -> None:
    gone = {"state": "destroyed", "deliveries": []}
    assert followed(Control((1.0, gone), (1.0 + SEND_SETTLE_S / 2, DONE)))[0].end is End.DELIVERED
    fate, _, ended_s = followed(Control((1.0, gone)))
    assert fate.end is End.FAILED
    assert "names no destination" in fate.words
    assert SEND_SETTLE_S < ended_s < 3 * SEND_SETTLE_S


def test_it_does_not_wait_for_ever() -> None:
    fate, _, ended_s = followed(Control((0.0, {"state": "delivering"})), 20.0)
    assert fate.end is End.WAITS
    assert fate.words == "not delivered after 20 s: delivering 0/0; it goes on by itself"
    assert 20 <= ended_s < 30


@pytest.mark.reaches("SEND_POLLS_MAX")
def test_many_files_share_few_questions() -> None:
    control = Control((5.0, DONE))

    async def main() -> None:
        follower = Follower(control.ask, 100.0, Random(1))
        async with asyncio.TaskGroup() as tasks:
            for _ in range(50):
                tasks.create_task(follower.follow("up_", "ab", lambda _: None))

    simulate(main())
    assert control.at_once_max == SEND_POLLS_MAX
