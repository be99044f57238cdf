import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from edge.pepper import PepperFile
from tests.support.sim import simulate
from zentransfer.credential import PEPPER_FILE_BYTES, make_pepper, pepper_file
from zentransfer.limits import PEPPER_PAUSE_S

FIRST, SECOND = make_pepper(Random(1).randbytes), make_pepper(Random(2).randbytes)
ANY = frozenset[str]()


def inside(check: Callable[[], None]) -> None:
    async def run() -> None:
        check()

    simulate(run())


def test_a_pepper_that_is_there_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    path.write_bytes(pepper_file(FIRST))

    def check() -> None:
        held = PepperFile(path)
        assert held.maybe(ANY) == FIRST
        path.unlink()
        assert held.maybe({FIRST.kid}) == FIRST
        assert held.check({FIRST.kid}) == (True, "secrets can be checked")

    inside(check)


@pytest.mark.reaches("PEPPER_PAUSE_S")
def test_one_that_comes_later_is_found_but_not_looked_for_at_each_request(tmp_path: Path) -> None:
    path = tmp_path / "pepper"

    async def run() -> None:
        held = PepperFile(path)
        assert held.maybe(ANY) is None
        assert held.check(ANY) == (False, "waits for the region's pepper")
        path.write_bytes(pepper_file(FIRST))
        assert held.maybe(ANY) is None
        await asyncio.sleep(PEPPER_PAUSE_S)
        assert held.maybe(ANY) == FIRST

    simulate(run())


def test_a_changed_one_is_read_when_the_snapshot_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    path.write_bytes(pepper_file(FIRST))

    async def run() -> None:
        held = PepperFile(path)
        assert held.maybe(ANY) == FIRST
        assert held.maybe({SECOND.kid}) == FIRST
        assert held.check({SECOND.kid})[0] is False
        path.write_bytes(pepper_file(SECOND))
        await asyncio.sleep(PEPPER_PAUSE_S)
        assert held.maybe({SECOND.kid}) == SECOND

    simulate(run())


@pytest.mark.parametrize("content", [b"", b"nonsense", b"x" * (PEPPER_FILE_BYTES + 9)])
def test_a_broken_one_is_said_once_and_not_believed(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pepper"
    path.write_bytes(content)

    async def run() -> None:
        held = PepperFile(path)
        for _ in range(3):
            assert held.maybe(ANY) is None
            await asyncio.sleep(PEPPER_PAUSE_S)

    simulate(run())
    assert capsys.readouterr().err.count("pepper.broken") == 1
