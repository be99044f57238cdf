import asyncio
import errno
from collections.abc import Awaitable, Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.disk_suite import CASES, Case
from tests.support.sim import simulate
from zentransfer.disk import Disk, File, read_all, write_atomic
from zentransfer.limits import DISK_LOCK_WAIT_S
from zentransfer.machine import Crashed
from zentransfer.memory_disk import MemoryDisk
from zentransfer.platter import keep_all, keep_none

SEEDS = range(100)


def _new(seed: int = 7) -> MemoryDisk:
    return MemoryDisk(Random(seed))


def _bytes(disk: Disk, path: str) -> bytes:
    return read_all(disk, path, 1 << 30)


async def _durable(disk: Disk, path: str, data: bytes) -> File:
    """Make a file that a crash leaves whole; the caller closes it."""
    file = disk.create(path)
    file.write_at(data, 0)
    await file.flush()
    await disk.flush_folder(".")
    return file


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_memory_disk_conforms(case: Case) -> None:
    disk = _new()
    simulate(case(disk))
    assert disk.held == 0


# --- what a crash leaves of bytes


def test_what_was_flushed_is_there_whatever_else_is_lost() -> None:
    disk = _new()
    simulate(_durable(disk, "a", b"x" * 3000))
    assert _bytes(disk.crash(keep_none), "a") == b"x" * 3000


def test_what_was_not_flushed_is_gone_at_worst_and_there_at_best() -> None:
    for keep, left in ((keep_none, b"x" * 600), (keep_all, b"x" * 600 + b"y" * 600)):
        disk = _new()
        file = simulate(_durable(disk, "a", b"x" * 600))
        file.write_at(b"y" * 600, 600)
        assert _bytes(disk.crash(keep), "a") == left


def test_a_crash_tears_at_the_sector() -> None:
    pieces: set[bytes] = set()
    for seed in SEEDS:
        disk = _new(seed)
        file = simulate(_durable(disk, "a", b"o" * 2048))
        file.write_at(b"n" * 1024, 512)
        left = _bytes(disk.crash(), "a")
        assert len(left) == 2048
        pieces |= {left[at : at + 512] for at in range(0, 2048, 512)}
        assert left[:512] + left[1536:] == b"o" * 1024
    assert pieces == {b"o" * 512, b"n" * 512}


def test_unflushed_sectors_survive_in_any_order() -> None:
    survivors: set[tuple[bool, ...]] = set()
    for seed in range(300):
        disk = _new(seed)
        file = simulate(_durable(disk, "a", bytes(2048)))
        for number in range(4):
            file.write_at(b"n" * 512, number * 512)
        left = _bytes(disk.crash(), "a")
        survivors.add(tuple(left[at] == ord("n") for at in range(0, 2048, 512)))
    assert len(survivors) == 16  # every subset, the last without the first included


def test_any_version_since_the_flush_may_survive() -> None:
    seen: set[bytes] = set()
    for seed in SEEDS:
        disk = _new(seed)
        file = simulate(_durable(disk, "a", b"0"))
        for version in (b"1", b"2"):
            file.write_at(version, 0)
        seen.add(_bytes(disk.crash(), "a"))
    assert seen == {b"0", b"1", b"2"}


def test_an_unflushed_extension_is_lost_or_empty_or_foreign_or_there() -> None:
    kinds: set[str] = set()
    for seed in SEEDS:
        disk = _new(seed)
        file = simulate(_durable(disk, "a", b"o" * 512))
        file.write_at(b"n" * 512, 512)
        left = _bytes(disk.crash(), "a")
        assert left[:512] == b"o" * 512
        known = {b"": "lost", bytes(512): "zeros", b"n" * 512: "there"}
        kinds.add(known.get(left[512:], "foreign"))
    assert kinds == {"lost", "zeros", "foreign", "there"}


def test_an_unflushed_cut_may_be_undone() -> None:
    sizes: set[int] = set()
    for seed in SEEDS:
        disk = _new(seed)
        file = simulate(_durable(disk, "a", b"o" * 2000))
        file.truncate(700)
        sizes.add(len(_bytes(disk.crash(), "a")))
    assert sizes == {700, 2000}


def test_a_flushed_cut_stays_cut() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await _durable(disk, "a", b"o" * 2000)
        file.truncate(700)
        file.truncate(1500)
        await file.flush()

    disk = _new()
    simulate(main(disk))
    assert _bytes(disk.crash(keep_none), "a") == b"o" * 700 + bytes(800)


def test_a_flush_covers_what_was_written_before_its_call_only() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await _durable(disk, "a", b"")
        file.write_at(b"early", 0)
        async with asyncio.TaskGroup() as group:
            group.create_task(file.flush())
            await asyncio.sleep(0)
            file.write_at(b"later", 0)

    for keep, left in ((keep_none, b"early"), (keep_all, b"later")):
        disk = _new()
        simulate(main(disk))
        assert _bytes(disk.crash(keep), "a") == left


def test_a_crash_may_fall_inside_a_flush() -> None:
    async def main(disk: MemoryDisk) -> MemoryDisk:
        file = await _durable(disk, "a", b"old")
        file.write_at(b"new", 0)
        async with asyncio.TaskGroup() as group:
            flush = group.create_task(_errno(file.flush()))
            await asyncio.sleep(0)
            after = disk.crash()
        assert flush.result() == errno.EBADF
        return after

    assert {_bytes(simulate(main(_new(seed))), "a") for seed in SEEDS} == {b"old", b"new"}


async def _errno(flush: Awaitable[None]) -> int | None:
    try:
        await flush
    except OSError as failure:
        return failure.errno
    return None


# --- what a crash leaves of names


def _left(disk: MemoryDisk) -> dict[str, bytes]:
    return {name: _bytes(disk, name) for name in disk.names(".")}


def test_a_new_name_may_vanish_though_its_bytes_were_flushed() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = disk.create("a")
        file.write_at(b"x", 0)
        await file.flush()

    seen: set[tuple[str, ...]] = set()
    for seed in SEEDS:
        disk = _new(seed)
        simulate(main(disk))
        seen.add(tuple(disk.crash().names(".")))
    assert seen == {(), ("a",)}


def test_a_removed_name_may_be_back() -> None:
    seen: set[tuple[str, ...]] = set()
    for seed in SEEDS:
        disk = _new(seed)
        simulate(_durable(disk, "a", b"x"))
        disk.unlink("a")
        seen.add(tuple(disk.crash().names(".")))
    assert seen == {(), ("a",)}


def test_a_rename_is_old_or_new_and_never_half() -> None:
    async def main(disk: MemoryDisk) -> None:
        await _durable(disk, "a", b"a")
        await _durable(disk, "b", b"b")
        disk.rename("a", "b")

    seen: list[dict[str, bytes]] = []
    for seed in SEEDS:
        disk = _new(seed)
        simulate(main(disk))
        left = _left(disk.crash())
        if left not in seen:
            seen.append(left)
    assert sorted(seen, key=len) == [{"b": b"a"}, {"a": b"a", "b": b"b"}]


def test_a_rename_may_be_durable_before_the_bytes() -> None:
    async def main(disk: MemoryDisk) -> None:
        disk.create("new").write_at(b"x" * 100, 0)
        disk.rename("new", "a")
        await disk.flush_folder(".")

    disk = _new()
    simulate(main(disk))
    assert _left(disk.crash(keep_none)) == {"a": b""}


def test_names_survive_each_by_itself() -> None:
    seen: set[tuple[str, ...]] = set()
    for seed in range(300):
        disk = _new(seed)
        for name in "abc":
            disk.create(name)
        seen.add(tuple(disk.crash().names(".")))
    assert len(seen) == 8


def test_what_builds_on_a_lost_change_is_lost() -> None:
    async def main(disk: MemoryDisk) -> None:
        await _durable(disk, "a", b"x")
        disk.make_folder("f")
        disk.rename("a", "b")
        disk.rename("b", "f/c")
        disk.rename("f/c", "d")
        disk.remove_folder("f")

    for seed in SEEDS:
        disk = _new(seed)
        simulate(main(disk))
        after = disk.crash()
        names = [name for name in after.names(".") if name != "f"]
        if after.exists("f"):
            names += after.names("f")
        assert len(names) == 1  # one file, one name, wherever the crash caught it


def test_a_folder_is_lost_with_all_that_is_in_it() -> None:
    async def main(disk: MemoryDisk) -> None:
        disk.make_folder("f")
        file = disk.create("f/a")
        await file.flush()
        await disk.flush_folder("f")

    disk = _new()
    simulate(main(disk))
    assert disk.crash(keep_none).names(".") == []


def test_flushing_one_folder_leaves_the_other_waiting() -> None:
    async def main(disk: MemoryDisk) -> None:
        disk.make_folder("f")
        disk.make_folder("g")
        await disk.flush_folder(".")
        disk.create("f/a")
        disk.create("g/a")
        await disk.flush_folder("f")

    disk = _new()
    simulate(main(disk))
    after = disk.crash(keep_none)
    assert (after.names("f"), after.names("g")) == (["a"], [])


def test_a_flushed_folder_takes_along_what_it_builds_on() -> None:
    async def main(disk: MemoryDisk) -> None:
        disk.make_folder("f")
        await disk.flush_folder(".")
        disk.create("a")
        disk.rename("a", "f/b")
        disk.rename("f/b", "f/c")
        await disk.flush_folder("f")

    disk = _new()
    simulate(main(disk))
    after = disk.crash(keep_none)
    assert (after.names("."), after.names("f")) == (["f"], ["c"])


def test_two_names_of_a_file_are_one_file_after_a_crash() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await _durable(disk, "a", b"x")
        disk.link("a", "b")
        await disk.flush_folder(".")
        file.close()

    disk = _new()
    simulate(main(disk))
    after = disk.crash(keep_none)
    after.open("a", write=True).write_at(b"y", 0)
    assert _left(after) == {"a": b"y", "b": b"y"}


# --- a failed flush


def test_after_a_failed_flush_the_bytes_read_back_until_the_cache_is_dropped() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await _durable(disk, "a", b"o" * 600)
        file.write_at(b"n" * 1000, 100)
        disk.fail_flush()
        assert await _errno(file.flush()) == errno.EIO
        other = disk.process().open("a", write=True)
        await other.flush()  # says ok, as ext4 does
        assert _bytes(disk, "a") == b"o" * 100 + b"n" * 1000
        other.drop_cache()
        assert _bytes(disk, "a") == b"o" * 600 + bytes(500)
        assert _bytes(disk.crash(keep_none), "a") == b"o" * 600 + bytes(500)

    simulate(main(_new()))


def test_a_failed_flush_is_final_for_its_handle() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await _durable(disk, "a", b"abc")
        disk.fail_flush()
        assert await _errno(file.flush()) == errno.EIO
        assert await _errno(file.flush()) == errno.EIO
        with pytest.raises(OSError, match="Input/output"):
            file.write_at(b"x", 0)
        with pytest.raises(OSError, match="Input/output"):
            file.truncate(0)
        assert _bytes(disk, "a") == b"abc"

    simulate(main(_new()))


def test_a_failure_that_a_cancelled_flush_did_not_see_is_told_later() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await _durable(disk, "a", b"")
        file.write_at(b"x", 0)
        disk.fail_flush()
        async with asyncio.TaskGroup() as group:
            flush = group.create_task(file.flush())
            await asyncio.sleep(0)
            flush.cancel()
        assert await _errno(file.flush()) == errno.EIO

    simulate(main(_new()))


def test_of_two_flushes_of_a_handle_none_says_ok_behind_a_failure() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await _durable(disk, "a", b"")
        file.write_at(b"x", 0)
        disk.fail_flush()
        async with asyncio.TaskGroup() as group:
            flushes = [group.create_task(_errno(file.flush())) for _ in range(2)]
        failed_at = [flush.result() for flush in flushes]
        ok = failed_at.count(None)
        # The second may end first, and then its bytes are durable.
        assert failed_at[0] == errno.EIO
        assert ok == 0 or _bytes(disk.crash(keep_none), "a") == b"x"

    for seed in SEEDS:
        simulate(main(_new(seed)))


def test_a_failed_flush_of_a_folder_loses_its_names() -> None:
    async def main(disk: MemoryDisk) -> None:
        disk.create("a")
        disk.fail_flush()
        assert await _errno(disk.flush_folder(".")) == errno.EIO
        await disk.flush_folder(".")
        assert disk.names(".") == ["a"]
        assert disk.crash(keep_all).names(".") == []

    simulate(main(_new()))


def test_what_is_written_again_after_a_failed_flush_is_flushed_by_another_handle() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await _durable(disk, "a", bytes(1024))
        file.write_at(b"n" * 1024, 0)
        disk.fail_flush()
        assert await _errno(file.flush()) == errno.EIO
        other = disk.open("a", write=True)
        other.write_at(b"m", 512)  # the page is whole in the cache, so it goes whole
        await other.flush()
        other.drop_cache()
        assert _bytes(disk, "a") == bytes(512) + b"m" + b"n" * 511

    simulate(main(_new()))


# --- planned faults


async def _replace(disk: Disk) -> None:
    await write_atomic(disk, "a", b"new")


def test_an_atomic_write_is_whole_wherever_the_machine_stops() -> None:
    for seed in range(20):
        for count in range(1, 99):
            disk = _new(seed)
            simulate(_durable(disk, "a", b"old"))
            disk.crash_at(count)
            try:
                simulate(_replace(disk))
            except Crashed:
                assert _bytes(disk.crash(), "a") in (b"old", b"new")
                continue
            assert _bytes(disk.crash(keep_none), "a") == b"new"
            break
        assert count > 5


def test_an_atomic_write_is_whole_whichever_operation_fails() -> None:
    for count in range(1, 99):
        disk = _new(count)
        simulate(_durable(disk, "a", b"old"))
        disk.fail_at(count, errno.ENOSPC)
        failure = simulate(_errno(_replace(disk)))
        assert _bytes(disk, "a") in (b"old", b"new")
        assert _bytes(disk.crash(), "a") in (b"old", b"new")
        if failure is None:
            break
    assert count > 5


def test_nothing_goes_on_where_the_machine_stopped() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = disk.create("a")
        disk.crash_at(1)
        with pytest.raises(Crashed):
            file.write_at(b"x", 0)
        with pytest.raises(Crashed):
            file.size()
        with pytest.raises(Crashed):
            disk.names(".")
        with pytest.raises(Crashed):
            await file.flush()
        file.close()

    simulate(main(_new()))


def test_the_old_life_is_over_after_a_crash() -> None:
    disk = _new()
    file = simulate(_durable(disk, "a", b"x"))
    other = disk.process()
    after = disk.crash()
    for call in (file.size, lambda: disk.names("."), lambda: other.create("b")):
        with pytest.raises(OSError, match="ended"):
            call()
    file.close()
    assert after.names(".") == ["a"]
    with pytest.raises(RuntimeError):
        other.crash()


def test_a_failed_write_leaves_a_prefix() -> None:
    lengths: set[int] = set()
    for seed in SEEDS:
        disk = _new(seed)
        file = disk.create("a")
        disk.fail_at(1, errno.EDQUOT)
        with pytest.raises(OSError, match="quota"):
            file.write_at(b"0123456789", 0)
        left = _bytes(disk, "a")
        assert b"0123456789".startswith(left)
        lengths.add(len(left))
    assert lengths == set(range(11))


def test_a_full_disk_takes_what_fits_and_heals() -> None:
    disk = MemoryDisk(Random(7), capacity=2048)
    file = disk.create("a")
    with pytest.raises(OSError, match="No space"):
        file.write_at(b"x" * 3000, 0)
    assert (file.size(), disk.free_bytes()) == (2048, 0)
    file.write_at(b"y" * 100, 0)  # in place
    other = disk.create("b")
    with pytest.raises(OSError, match="No space"):
        other.write_at(b"x", 0)
    disk.unlink("a")
    assert disk.free_bytes() == 0  # still open
    file.close()
    other.write_at(b"x" * 513, 0)
    assert disk.free_bytes() == 1024
    other.allocate(2048)
    other.truncate(513)
    with pytest.raises(OSError, match="No space"):
        other.allocate(2049)
    disk.set_capacity(4096)
    other.allocate(4096)
    assert disk.free_bytes() == 0


def test_room_is_counted_anew_after_a_crash() -> None:
    disk = MemoryDisk(Random(7), capacity=4096)
    file = simulate(_durable(disk, "a", b"x" * 600))
    file.write_at(b"x" * 2000, 600)
    assert disk.crash(keep_none).free_bytes() == 3072


# --- processes


def test_a_kill_keeps_the_cache_and_a_later_power_loss_does_not() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await _durable(disk, "a", b"old")
        file.write_at(b"new", 0)
        other = disk.process()
        disk.kill()
        with pytest.raises(OSError, match="ended"):
            file.write_at(b"late", 0)
        assert disk.held == 0
        assert _bytes(other, "a") == b"new"
        assert _bytes(other.crash(keep_none), "a") == b"old"

    simulate(main(_new()))


def test_the_end_of_a_process_frees_its_lock() -> None:
    async def hold(disk: MemoryDisk) -> None:
        async with disk.lock("lock"):
            await asyncio.sleep(3600)

    async def main(disk: MemoryDisk) -> None:
        other = disk.process()
        async with asyncio.TaskGroup() as group:
            holder = group.create_task(hold(disk))
            await asyncio.sleep(1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1), other.lock("lock"):
                    pass
            disk.kill()
            async with other.lock("lock"):
                holder.cancel()  # what the dead one lets go of is no longer its own
                await asyncio.sleep(1)
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1), disk.process().lock("lock"):
                        pass
            async with other.crash().lock("lock"):
                pass

    simulate(main(_new()))


@pytest.mark.reaches("DISK_LOCK_WAIT_S")
def test_nobody_waits_for_a_lock_for_ever() -> None:
    async def main(disk: MemoryDisk) -> float:
        loop = asyncio.get_running_loop()
        async with disk.lock("lock"):
            start_s = loop.time()
            with pytest.raises(TimeoutError):
                async with disk.lock("lock"):
                    pass
            return loop.time() - start_s

    assert simulate(main(_new())) == pytest.approx(DISK_LOCK_WAIT_S)


def test_a_frozen_process_flushes_when_it_is_thawed() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await _durable(disk, "a", b"")
        other = disk.process().open("a", write=True)
        file.write_at(b"x", 0)
        disk.freeze()
        async with asyncio.TaskGroup() as group:
            flush = group.create_task(file.flush())
            await asyncio.sleep(3600)
            await other.flush()
            assert not flush.done()
            disk.thaw()

    simulate(main(_new()))


def test_a_frozen_process_that_is_killed_learns_it() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await _durable(disk, "a", b"")
        disk.freeze()
        async with asyncio.TaskGroup() as group:
            flush = group.create_task(_errno(file.flush()))
            await asyncio.sleep(1)
            disk.kill()
        assert flush.result() == errno.EBADF

    simulate(main(_new()))


# --- properties


class _History:
    """What a file should hold: durable, as seen, and each byte's values since its flush."""

    def __init__(self) -> None:
        self.durable = b""
        self.seen = b""
        self.since: dict[int, set[int]] = {}

    async def write(self, file: File, position: int, length: int, value: int) -> None:
        data = bytes([value]) * length
        file.write_at(data, position)
        gap = self.seen[:position].ljust(position, b"\0")
        self._now(gap + data + self.seen[position + length :])

    async def cut(self, file: File, position: int, _length: int, _value: int) -> None:
        file.truncate(position)
        self._now(self.seen[:position].ljust(position, b"\0"))

    async def flush(self, file: File, _position: int, _length: int, _value: int) -> None:
        await file.flush()
        self.durable, self.since = self.seen, {}

    def allows(self, left: bytes) -> bool:
        """Say whether a crash may leave this of the bytes that were durable."""
        return all(
            found == value or found in self.since.get(at, ())
            for at, (found, value) in enumerate(zip(left, self.durable, strict=False))
        )

    def _now(self, seen: bytes) -> None:
        for at in range(max(len(seen), len(self.seen))):
            before, after = self.seen[at : at + 1], seen[at : at + 1]
            if before != after:
                self.since.setdefault(at, set()).add(after[0] if after else 0)
        self.seen = seen


_STEPS = st.lists(
    st.tuples(
        st.sampled_from([_History.write, _History.cut, _History.flush]),
        st.integers(0, 3000),
        st.integers(1, 900),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(steps=_STEPS, seed=st.integers(0, 2**32))
def test_a_crash_loses_exactly_what_was_not_flushed(
    steps: list[tuple[Callable[..., Awaitable[None]], int, int]], seed: int
) -> None:
    async def main(disk: MemoryDisk) -> _History:
        history = _History()
        file = await _durable(disk, "a", b"")
        for value, (step, position, length) in enumerate(steps, 1):
            await step(history, file, position, length, value)
        return history

    for keep in (keep_none, keep_all, None):
        disk = _new(seed)
        history = simulate(main(disk))
        assert _bytes(disk, "a") == history.seen
        left = _bytes(disk.crash(keep), "a")
        assert keep is not keep_none or left == history.durable
        assert keep is not keep_all or left == history.seen
        assert history.allows(left)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_history(seed: int) -> None:
    async def main(disk: MemoryDisk) -> dict[str, bytes]:
        async def work(name: str) -> None:
            file = disk.create(name)
            for position in range(0, 4000, 400):
                file.write_at(name.encode() * 400, position)
                await file.flush()
                disk.rename(name, name + "x")
                disk.rename(name + "x", name)
            file.write_at(b"z" * 3000, 0)

        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(work(name))
        return _left(disk.crash())

    assert simulate(main(_new(seed))) == simulate(main(_new(seed)))
