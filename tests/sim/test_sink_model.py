from typing import ClassVar

import pytest

from edge.record import UploadRecord
from edge.sinks.log_parts import Rules
from edge.sinks.memory import MemorySink
from tests.support.sim import simulate
from tests.support.sink_history import History
from tests.support.sink_model import Violation
from zentransfer.disk import DiskPath, File
from zentransfer.memory_disk import MemoryDisk

STEPS = 40
BLOCKS = 10  # of histories, so that workers share them
BLOCK = 15  # histories
MUTANT_SEEDS = 200  # histories in which a mutant must be seen at the latest


class WithoutFlushAtClaim(Rules):
    async def flush_found(self, file: File) -> None:
        pass


class WithoutCacheDropAtClaim(Rules):
    def drop_found(self, file: File) -> None:
        pass


class WithoutFenceBeforeReply(Rules):
    def may_reply(self, record: UploadRecord, fence: int) -> bool:
        return True


class WithoutFenceAtCommit(Rules):
    def may_commit(self, record: UploadRecord, fence: int) -> bool:
        return True


class WithCrcOfNoSegment(Rules):
    def seed(self, header_hash: bytes) -> int:
        return 0


class WithoutFolderFlush(MemoryDisk):
    async def flush_folder(self, path: DiskPath) -> None:
        pass


def is_caught(seed: int, sink: type[MemorySink], disk: type[MemoryDisk]) -> bool:
    try:
        simulate(History(seed, sink, disk).run(STEPS))
    except Violation:
        return True
    except Exception:  # noqa: BLE001 - a broken sink may fail in any way; only one kind counts
        return False
    return False


@pytest.mark.parametrize("block", range(BLOCKS))
def test_what_was_told_is_kept_in_every_history(block: int) -> None:
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        simulate(History(seed).run(STEPS))


@pytest.mark.parametrize(
    "mutation",
    [
        WithoutFlushAtClaim,
        WithoutCacheDropAtClaim,
        WithoutFenceBeforeReply,
        WithoutFenceAtCommit,
        WithCrcOfNoSegment,
    ],
)
def test_a_sink_without_one_of_its_rules_is_caught(mutation: type[Rules]) -> None:
    class Mutant(MemorySink):
        rules: ClassVar[Rules] = mutation()

    assert any(is_caught(seed, Mutant, MemoryDisk) for seed in range(MUTANT_SEEDS))


def test_a_sink_without_the_flush_of_its_folders_is_caught() -> None:
    assert any(is_caught(seed, MemorySink, WithoutFolderFlush) for seed in range(MUTANT_SEEDS))


@pytest.mark.soak
@pytest.mark.parametrize("block", range(20))
def test_what_was_told_is_kept_in_thousands_of_histories(block: int) -> None:
    for seed in range(10_000 + block * 100, 10_000 + (block + 1) * 100):
        simulate(History(seed).run(STEPS))
