import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

import pytest

from edge.snapshot import Snapshot, WorkflowEntry
from edge.snapshot_file import open_snapshot_file
from edge.workflow.versions import Versions
from tests.support.delivery_site import ACCOUNT, WORKFLOW, destination_id, snapshot
from tests.support.sim import simulate
from zentransfer.ids import ProcessName, Region
from zentransfer.limits import WORKFLOW_VERSIONS_REREAD_S
from zentransfer.memory_disk import MemoryDisk

OURS = ProcessName("delivery-0")


def knows(version: int, *past: int) -> Snapshot:
    """Return a snapshot with the workflow in *version*, which remembers it in *past* ones."""
    found = snapshot({}, version=version, workflow=entry(version))
    return replace(found, past=tuple(map(entry, past)))


def entry(version: int) -> WorkflowEntry:
    return WorkflowEntry(WORKFLOW, version, ACCOUNT, (), (destination_id(version % 8),))


def play(act: Callable[[MemoryDisk], Awaitable[None]]) -> None:
    async def main() -> None:
        await act(MemoryDisk(Random(1)))

    simulate(main())


async def keep(disk: MemoryDisk, process: str, found: Snapshot) -> None:
    await open_snapshot_file(disk, f"snapshot/{process}", Region.FR).keep(found)


def versions(disk: MemoryDisk) -> Versions:
    own = open_snapshot_file(disk, f"snapshot/{OURS}", Region.FR)
    return Versions(disk, own, OURS, Region.FR)


def test_our_own_snapshot_is_asked_first() -> None:
    async def act(disk: MemoryDisk) -> None:
        await keep(disk, OURS, knows(3, 2))
        found = versions(disk)
        assert found.maybe(WORKFLOW, 3) == entry(3)
        assert found.maybe(WORKFLOW, 2) == entry(2)
        assert found.maybe(WORKFLOW, 1) is None

    play(act)


@pytest.mark.reaches("WORKFLOW_VERSIONS_REREAD_S")
def test_a_version_that_only_a_sibling_knows_is_found_now_and_then() -> None:
    async def act(disk: MemoryDisk) -> None:
        await keep(disk, OURS, knows(5))
        found = versions(disk)
        assert found.maybe(WORKFLOW, 4) is None
        await keep(disk, "ingest-0", knows(4, 3))
        assert found.maybe(WORKFLOW, 4) is None, "they are not read at every call"
        await asyncio.sleep(WORKFLOW_VERSIONS_REREAD_S)
        assert found.maybe(WORKFLOW, 4) == entry(4)
        assert found.maybe(WORKFLOW, 3) == entry(3)

    play(act)


def test_no_snapshot_at_all_is_no_error() -> None:
    async def act(disk: MemoryDisk) -> None:
        assert versions(disk).maybe(WORKFLOW, 1) is None

    play(act)
