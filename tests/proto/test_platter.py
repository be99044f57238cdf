import asyncio
import errno
from collections.abc import Awaitable, Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.disks import SEEDS, content, contents, errno_of, new_disk, put_durably
from tests.support.sim import simulate
from zentransfer.disk import File
from zentransfer.memory_disk import MemoryDisk
from zentransfer.platter import keep_all, keep_none

# --- what a crash leaves of bytes


def test_what_was_flushed_is_there_whatever_else_is_lost() -> None:
    disk = new_disk()
    simulate(put_durably(disk, "a", b"x" * 3000))
    assert content(disk.crash(keep_none), "a") == b"x" * 3000


def test_what_was_not_flushed_is_gone_at_worst_and_there_at_best() -> None:
    for keep, left in ((keep_none, b"x" * 600), (keep_all, b"x" * 600 + b"y" * 600)):
        disk = new_disk()
        file = simulate(put_durably(disk, "a", b"x" * 600))
        file.write_at(b"y" * 600, 600)
        assert content(disk.crash(keep), "a") == left


def test_a_crash_tears_at_the_sector() -> None:
    pieces: set[bytes] = set()
    for seed in SEEDS:
        disk = new_disk(seed)
        file = simulate(put_durably(disk, "a", b"o" * 2048))
        file.write_at(b"n" * 1024, 512)
        left = content(disk.crash(), "a")
        assert len(left) == 2048
        pieces |= {left[at : at + 512] for at in range(0, 2048, 512)}
        assert left[:512] + left[1536:] == b"o" * 1024
    assert pieces == {b"o" * 512, b"n" * 512}


def test_unflushed_sectors_survive_in_any_order() -> None:
    survivors: set[tuple[bool, ...]] = set()
    for seed in range(300):
        disk = new_disk(seed)
        file = simulate(put_durably(disk, "a", bytes(2048)))
        for number in range(4):
            file.write_at(b"n" * 512, number * 512)
        left = content(disk.crash(), "a")
        survivors.add(tuple(left[at] == ord("n") for at in range(0, 2048, 512)))
    assert len(survivors) == 16  # every subset, the last without the first included


def test_any_version_since_the_flush_may_survive() -> None:
    seen: set[bytes] = set()
    for seed in SEEDS:
        disk = new_disk(seed)
        file = simulate(put_durably(disk, "a", b"0"))
        for version in (b"1", b"2"):
            file.write_at(version, 0)
        seen.add(content(disk.crash(), "a"))
    assert seen == {b"0", b"1", b"2"}


def test_an_unflushed_extension_is_lost_or_empty_or_foreign_or_there() -> None:
    kinds: set[str] = set()
    for seed in SEEDS:
        disk = new_disk(seed)
        file = simulate(put_durably(disk, "a", b"o" * 512))
        file.write_at(b"n" * 512, 512)
        left = content(disk.crash(), "a")
        assert left[:512] == b"o" * 512
        known = {b"": "lost", bytes(512): "zeros", b"n" * 512: "there"}
        kinds.add(known.get(left[512:], "foreign"))
    assert kinds == {"lost", "zeros", "foreign", "there"}


def test_an_unflushed_cut_may_be_undone() -> None:
    sizes: set[int] = set()
    for seed in SEEDS:
        disk = new_disk(seed)
        file = simulate(put_durably(disk, "a", b"o" * 2000))
        file.truncate(700)
        sizes.add(len(content(disk.crash(), "a")))
    assert sizes == {700, 2000}


def test_a_flushed_cut_stays_cut() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await put_durably(disk, "a", b"o" * 2000)
        file.truncate(700)
        file.truncate(1500)
        await file.flush()

    disk = new_disk()
    simulate(main(disk))
    assert content(disk.crash(keep_none), "a") == b"o" * 700 + bytes(800)


def test_a_flush_covers_what_was_written_before_its_call_only() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await put_durably(disk, "a", b"")
        file.write_at(b"early", 0)
        async with asyncio.TaskGroup() as group:
            group.create_task(file.flush())
            await asyncio.sleep(0)
            file.write_at(b"later", 0)

    for keep, left in ((keep_none, b"early"), (keep_all, b"later")):
        disk = new_disk()
        simulate(main(disk))
        assert content(disk.crash(keep), "a") == left


def test_a_crash_may_fall_inside_a_flush() -> None:
    async def main(disk: MemoryDisk) -> MemoryDisk:
        file = await put_durably(disk, "a", b"old")
        file.write_at(b"new", 0)
        async with asyncio.TaskGroup() as group:
            flush = group.create_task(errno_of(file.flush()))
            await asyncio.sleep(0)
            after = disk.crash()
        assert flush.result() == errno.EBADF
        return after

    assert {content(simulate(main(new_disk(seed))), "a") for seed in SEEDS} == {b"old", b"new"}


# --- what a crash leaves of names


def test_a_new_name_may_vanish_though_its_bytes_were_flushed() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = disk.create("a")
        file.write_at(b"x", 0)
        await file.flush()

    seen: set[tuple[str, ...]] = set()
    for seed in SEEDS:
        disk = new_disk(seed)
        simulate(main(disk))
        seen.add(tuple(disk.crash().names(".")))
    assert seen == {(), ("a",)}


def test_a_removed_name_may_be_back() -> None:
    seen: set[tuple[str, ...]] = set()
    for seed in SEEDS:
        disk = new_disk(seed)
        simulate(put_durably(disk, "a", b"x"))
        disk.unlink("a")
        seen.add(tuple(disk.crash().names(".")))
    assert seen == {(), ("a",)}


def test_a_rename_is_old_or_new_and_never_half() -> None:
    async def main(disk: MemoryDisk) -> None:
        await put_durably(disk, "a", b"a")
        await put_durably(disk, "b", b"b")
        disk.rename("a", "b")

    seen: list[dict[str, bytes]] = []
    for seed in SEEDS:
        disk = new_disk(seed)
        simulate(main(disk))
        left = contents(disk.crash())
        if left not in seen:
            seen.append(left)
    assert sorted(seen, key=len) == [{"b": b"a"}, {"a": b"a", "b": b"b"}]


def test_a_rename_may_be_durable_before_the_bytes() -> None:
    async def main(disk: MemoryDisk) -> None:
        disk.create("new").write_at(b"x" * 100, 0)
        disk.rename("new", "a")
        await disk.flush_folder(".")

    disk = new_disk()
    simulate(main(disk))
    assert contents(disk.crash(keep_none)) == {"a": b""}


def test_names_survive_each_by_itself() -> None:
    seen: set[tuple[str, ...]] = set()
    for seed in range(300):
        disk = new_disk(seed)
        for name in "abc":
            disk.create(name)
        seen.add(tuple(disk.crash().names(".")))
    assert len(seen) == 8


def test_what_builds_on_a_lost_change_is_lost() -> None:
    async def main(disk: MemoryDisk) -> None:
        await put_durably(disk, "a", b"x")
        disk.make_folder("f")
        disk.rename("a", "b")
        disk.rename("b", "f/c")
        disk.rename("f/c", "d")
        disk.remove_folder("f")

    for seed in SEEDS:
        disk = new_disk(seed)
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

    disk = new_disk()
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

    disk = new_disk()
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

    for keep in (keep_none, keep_all):
        disk = new_disk()
        simulate(main(disk))
        after = disk.crash(keep)
        assert (after.names("."), after.names("f")) == (["f"], ["c"])


def test_a_file_moved_into_a_new_folder_takes_that_folder_along() -> None:
    async def main(disk: MemoryDisk) -> None:
        await put_durably(disk, "a", b"x")
        disk.make_folder("f/g")
        disk.rename("a", "f/g/b")
        await disk.flush_folder("f/g")

    disk = new_disk()
    simulate(main(disk))
    assert content(disk.crash(keep_none), "f/g/b") == b"x"  # a rename is old or new, never neither


def test_two_names_of_a_file_are_one_file_after_a_crash() -> None:
    async def main(disk: MemoryDisk) -> None:
        file = await put_durably(disk, "a", b"x")
        disk.link("a", "b")
        await disk.flush_folder(".")
        file.close()

    disk = new_disk()
    simulate(main(disk))
    after = disk.crash(keep_none)
    after.open("a", write=True).write_at(b"y", 0)
    assert contents(after) == {"a": b"y", "b": b"y"}


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
        file = await put_durably(disk, "a", b"")
        for value, (step, position, length) in enumerate(steps, 1):
            await step(history, file, position, length, value)
        return history

    for keep in (keep_none, keep_all, None):
        disk = new_disk(seed)
        history = simulate(main(disk))
        assert content(disk, "a") == history.seen
        left = content(disk.crash(keep), "a")
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
        return contents(disk.crash())

    assert simulate(main(new_disk(seed))) == simulate(main(new_disk(seed)))
