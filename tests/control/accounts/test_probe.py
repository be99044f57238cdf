import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from control.accounts.destinations import DestinationKind
from control.accounts.probe import FolderProbe, Probed
from tests.control.builders import account, destination
from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from zentransfer.errors import Code
from zentransfer.limits import PROBE_S

T = TypeVar("T")


def probed(address: str, **changes: Any) -> Probed:
    async def run() -> Probed:
        with ThreadPoolExecutor(1) as threads:
            return await FolderProbe(threads)(destination(account(), address=address, **changes))

    return real_loop(run())


def test_a_good_folder_is_fine_and_stays_empty(tmp_path: Path) -> None:
    assert probed(str(tmp_path)) == Probed()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert probed(str(tmp_path / "missing")).code is Code.NOT_FOUND


def test_a_file_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert probed(str(tmp_path / "file")).code is Code.INVALID


def test_a_folder_that_may_not_be_written_is_named() -> None:
    found = probed("/sys")  # nobody may, not even the superuser
    assert found.code is Code.FORBIDDEN
    assert found.detail


def test_a_kind_without_a_trial_is_named() -> None:
    assert probed("/srv", kind=DestinationKind.S3).code is Code.INVALID


class NeverDone(Executor):
    """Threads that all hang, as in a mount whose server is gone."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        return Future()


@pytest.mark.reaches("PROBE_S")
def test_a_folder_that_hangs_is_given_up() -> None:
    async def run() -> None:
        begin_s = asyncio.get_running_loop().time()
        found = await FolderProbe(NeverDone())(destination(account()))
        assert found.code is Code.TIMEOUT
        assert asyncio.get_running_loop().time() - begin_s == pytest.approx(PROBE_S)

    simulate(run())
    assert threading.active_count() < 50
