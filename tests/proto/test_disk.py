import asyncio
import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.disk_suite import CASES, Case
from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from zentransfer.disk import Disk, RealDisk, read_all
from zentransfer.limits import DISK_FLUSH_THREADS, DISK_FLUSH_WAIT_S, DISK_LOCK_WAIT_S
from zentransfer.memory_disk import MemoryDisk
from zentransfer.real_file import RealFile

ROOT = Path(__file__).parents[2]


def _descriptors() -> list[str]:
    """Return what the open descriptors of this process lead to."""
    found: list[str] = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:  # that of the listing itself
            continue
    return found


def _below(root: Path) -> list[str]:
    return [path for path in _descriptors() if path.startswith(str(root))]


@pytest.mark.parametrize("uvloop", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_real_disk_conforms(case: Case, uvloop: bool, tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    real_loop(case(disk), uvloop=uvloop)
    disk.close()
    assert _below(tmp_path) == []


# --- both forms do the same


_PATHS = st.sampled_from(["a", "b", "f", "f/a", "f/g", "f/g/a", "."])
_BYTES = st.binary(max_size=3000)
_STEPS = st.one_of(
    st.tuples(st.sampled_from(["create", "make_folder", "unlink", "remove_folder"]), _PATHS),
    st.tuples(st.sampled_from(["names", "exists"]), _PATHS),
    st.tuples(st.sampled_from(["rename", "link"]), _PATHS, _PATHS),
    st.tuples(st.just("write_at"), _PATHS, _BYTES, st.integers(0, 3000)),
    st.tuples(st.sampled_from(["truncate", "allocate"]), _PATHS, st.integers(0, 3000)),
    st.tuples(st.just("read"), _PATHS),
)


def _answer(disk: Disk, verb: str, path: str, *arguments: object) -> object:
    """Do one step and return its result, or the kind and number of its error."""
    try:
        if verb == "read":
            return read_all(disk, path, 1 << 20)
        if verb not in ("write_at", "truncate", "allocate"):
            result = getattr(disk, verb)(path, *arguments)
            if verb == "create":
                result.close()
                return None
            return result
        file = disk.open(path, write=True)
        try:
            return getattr(file, verb)(*arguments)
        finally:
            file.close()
    except OSError as refused:
        return type(refused), refused.errno


@settings(deadline=None, max_examples=60)
@given(steps=st.lists(_STEPS, max_size=40))
def test_both_forms_give_the_same_answers(steps: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        real, memory = RealDisk(Path(root)), MemoryDisk(Random(7))
        for step in steps:
            assert _answer(real, *step) == _answer(memory, *step), step
        real.close()
        assert memory.held == 0


# --- what only the real form can do


def test_files_and_folders_are_for_their_owner_only(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    disk.make_folder("f/g")
    disk.create("f/a").close()

    async def lock() -> None:
        async with disk.lock("f/lock"):
            pass

    simulate(lock())
    modes = {path: stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("f", "f/g", "f/a")}
    assert modes == {"f": 0o700, "f/g": 0o700, "f/a": 0o600}
    assert stat.S_IMODE((tmp_path / "f/lock").stat().st_mode) == 0o600
    disk.close()


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / "a").symlink_to("target")
    disk = RealDisk(tmp_path)

    async def lock() -> None:
        async with disk.lock("a"):
            pass

    for follow in (lambda: disk.open("a"), lambda: simulate(lock())):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is what is asserted
            follow()
        assert caught.value.errno == errno.ELOOP
    disk.close()


@pytest.mark.peer
def test_a_program_that_is_started_inherits_no_file(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    file = disk.create("a")
    listing = subprocess.run(
        ["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, text=True, check=True
    )
    assert str(tmp_path) not in listing.stdout
    file.close()
    disk.close()


def test_a_disk_stands_on_a_folder_that_exists(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in ("missing", "file"):
        with pytest.raises(NotADirectoryError):
            RealDisk(tmp_path / path)


def test_allocated_room_is_taken_and_given_back(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    file = disk.create("a")
    file.write_at(b"x", 0)
    file.allocate(1 << 20)
    taken = (tmp_path / "a").stat()
    file.truncate(1)
    left = (tmp_path / "a").stat()
    assert (taken.st_size, left.st_size) == (1, 1)
    assert taken.st_blocks * 512 >= 1 << 20  # ext4, xfs, btrfs and tmpfs can all allocate
    assert left.st_blocks * 512 < 1 << 20
    file.close()
    disk.close()


class _Stuck:
    """Holds up the flushes of one file, as a slow disk would."""

    def __init__(self, file: RealFile) -> None:
        self._flushing = file._flushing

    def __enter__(self) -> None:
        self._flushing.acquire()

    def __exit__(self, *_: object) -> None:
        self._flushing.release()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what another thread does sets no event of ours
            await asyncio.sleep(0.005)


@pytest.mark.reaches("DISK_FLUSH_THREADS")
@pytest.mark.reaches("DISK_FLUSH_WAIT_S")
def test_flushes_run_in_few_threads_of_their_own(tmp_path: Path) -> None:
    def threads() -> int:
        return sum(thread.name.startswith("disk-flush") for thread in threading.enumerate())

    async def main() -> None:
        before = threads()
        disk = RealDisk(tmp_path)
        file = disk.create("a")
        async with asyncio.TaskGroup() as group:
            with _Stuck(file):
                for _ in range(3 * DISK_FLUSH_THREADS):
                    group.create_task(file.flush())
                    await asyncio.sleep(2 * DISK_FLUSH_WAIT_S)  # else they would go together
                await _until(lambda: threads() - before == DISK_FLUSH_THREADS)
        file.close()
        disk.close()
        assert threads() == before

    real_loop(main())


@pytest.mark.parametrize("uvloop", [False, True])
def test_a_file_closed_under_a_cancelled_flush_keeps_its_number_until_the_end(
    tmp_path: Path, uvloop: bool
) -> None:
    async def main() -> None:
        disk = RealDisk(tmp_path)
        file = disk.create("a")
        async with asyncio.TaskGroup() as group:
            with _Stuck(file):
                flush = group.create_task(file.flush())
                await asyncio.sleep(0.02)
                flush.cancel()
                await asyncio.sleep(0)
                file.close()
                # Else another file would get the number, and the thread would flush that.
                assert _below(tmp_path) == [str(tmp_path / "a")]
        await _until(lambda: _below(tmp_path) == [])
        disk.close()

    real_loop(main(), uvloop=uvloop)


def test_a_flush_that_waits_for_a_thread_can_be_cancelled(tmp_path: Path) -> None:
    async def main() -> None:
        disk = RealDisk(tmp_path, threads=1)
        first, second = disk.create("a"), disk.create("b")
        async with asyncio.TaskGroup() as group:
            with _Stuck(first):
                group.create_task(first.flush())
                waiting = group.create_task(second.flush())
                await asyncio.sleep(0.02)
                waiting.cancel()
                await asyncio.sleep(0)
                second.close()
                assert _below(tmp_path) == [str(tmp_path / "a")]
        first.close()
        disk.close()
        assert _below(tmp_path) == []

    real_loop(main())


def test_a_flush_after_the_end_of_its_disk_is_refused(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    file = disk.create("a")
    disk.close()
    disk.close()
    for flush in (file.flush, lambda: disk.flush_folder(".")):
        with pytest.raises(OSError, match="closed"):
            real_loop(flush())
    file.close()
    assert _below(tmp_path) == []


async def _broken(disk: RealDisk) -> RealFile:
    """Return an open file that cannot be flushed: fdatasync(2) of a pipe is EINVAL."""
    reader, writer = os.pipe()
    os.close(reader)
    return RealFile(writer, disk._flushes)


def test_a_failed_flush_is_final_for_its_handle(tmp_path: Path) -> None:
    async def main() -> None:
        disk = RealDisk(tmp_path)
        file = await _broken(disk)
        for _ in range(2):
            assert await _told(file) == errno.EINVAL
        with pytest.raises(OSError, match="earlier flush"):
            file.write_at(b"x", 0)
        with pytest.raises(OSError, match="earlier flush"):
            file.truncate(0)
        file.close()
        disk.close()

    real_loop(main())


def test_a_failure_that_nobody_saw_is_told_later(tmp_path: Path) -> None:
    async def main() -> None:
        disk = RealDisk(tmp_path)
        file = await _broken(disk)
        async with asyncio.TaskGroup() as group:
            with _Stuck(file):
                cancelled = group.create_task(file.flush())
                second = group.create_task(_told(file))
                await asyncio.sleep(0.02)
                cancelled.cancel()
        assert second.result() == await _told(file) == errno.EINVAL
        file.close()
        disk.close()

    real_loop(main())


def test_a_flush_that_waited_behind_a_failed_one_fails_too(tmp_path: Path) -> None:
    async def main() -> None:
        disk = RealDisk(tmp_path, threads=1)
        file = await _broken(disk)
        good = disk.create("a")
        async with asyncio.TaskGroup() as group:
            with _Stuck(file):
                first = group.create_task(_told(file))
                await asyncio.sleep(0.02)
                # From here on the kernel says ok, as it does after it has told a failure once.
                disk._flushes._threads.submit(os.dup2, good._descriptor, file._descriptor, False)
                second = group.create_task(_told(file))
                await asyncio.sleep(0.02)
        assert first.result() == second.result() == errno.EINVAL
        file.close()
        good.close()
        disk.close()

    real_loop(main())


async def _told(file: RealFile) -> int | None:
    try:
        await file.flush()
    except OSError as failure:
        return failure.errno
    return None


def test_nothing_is_left_open_by_a_storm_of_errors_and_cancellations(tmp_path: Path) -> None:
    async def one(disk: RealDisk, random: Random, number: int) -> None:
        file = disk.create(f"{number}")
        try:
            async with asyncio.timeout(random.uniform(0, 0.02)), disk.lock(f"{number % 3}.lock"):
                file.write_at(random.randbytes(5000), 0)
                await file.flush()
                await disk.flush_folder(".")
                disk.rename(f"{number}", f"missing/{number}")
        except OSError:  # TimeoutError is one as well
            disk.unlink(f"{number}")
        finally:
            file.close()

    async def main() -> None:
        disk, random = RealDisk(tmp_path), Random(7)
        async with asyncio.TaskGroup() as group:
            for number in range(300):
                group.create_task(one(disk, random, number))
        disk.close()

    real_loop(main())
    assert _below(tmp_path) == []


# --- the world's faults


_PROLOGUE = """
import asyncio, ctypes, errno, os, resource, signal, sys
from pathlib import Path
from zentransfer.disk import RealDisk, read_all, write_atomic
disk = RealDisk(Path(sys.argv[1]))
def refused(code, verb, *arguments):
    try:
        verb(*arguments)
    except OSError as error:
        assert error.errno == code, error
        return
    raise AssertionError(f"{verb} did what it cannot do")
"""


def _run(script: str, folder: Path, *before: str) -> None:
    """Run *script* in a process of its own; an assertion in it fails the test."""
    command = [*before, sys.executable, "-c", _PROLOGUE + script, str(folder)]
    done = subprocess.run(
        command, cwd=ROOT / "proto", capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.peer
def test_a_write_above_the_size_limit_leaves_what_fits(tmp_path: Path) -> None:
    _run(
        """
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
file = disk.create("a")
refused(errno.EFBIG, file.write_at, b"x" * 300_000, 0)
assert file.size() == 100_000
file.write_at(b"y", 0)
asyncio.run(file.flush())
""",
        tmp_path,
    )


@pytest.mark.peer
def test_a_short_write_is_gone_on_with(tmp_path: Path) -> None:
    # The kernel cuts the first write at the limit; when it is cut, the limit is lifted.
    _run(
        """
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
file = disk.create("a")
short = []
def lift(frame, event, argument):
    if frame.f_code.co_name == "write_at" and file._descriptor and not short:
        if os.fstat(file._descriptor).st_size == 100_000:
            short.append(True)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    return lift
data = os.urandom(300_000)
sys.settrace(lift)
file.write_at(data, 0)
sys.settrace(None)
assert short
assert read_all(disk, "a", 300_000) == data
""",
        tmp_path,
    )


@pytest.mark.peer
def test_signals_do_not_disturb_a_write_or_a_flush(tmp_path: Path) -> None:
    _run(
        """
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
file = disk.create("a")
data = os.urandom(1 << 20)
file.allocate(16 << 20)
for number in range(16):
    file.write_at(data, number << 20)
asyncio.run(file.flush())
signal.setitimer(signal.ITIMER_REAL, 0)
assert read_all(disk, "a", 16 << 20) == data * 16
""",
        tmp_path,
    )


_FULL = """
libc = ctypes.CDLL(None, use_errno=True)
def mount(size, inodes):
    options = f"size={size},nr_inodes={inodes},mode=700".encode()
    assert libc.mount(b"tmpfs", sys.argv[1].encode(), b"tmpfs", 0, options) == 0, ctypes.get_errno()
    return RealDisk(Path(sys.argv[1]))
"""


def _run_with_mounts(script: str, folder: Path) -> None:
    """Run *script* with mounts of its own; whoever is not root needs user namespaces."""
    namespaces = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    probe = subprocess.run([*namespaces, "true"], capture_output=True, text=True, check=False)
    assert probe.returncode == 0, (
        "unshare is refused; run as root, or: sudo sysctl -w kernel.unprivileged_userns_clone=1 "
        "kernel.apparmor_restrict_unprivileged_userns=0"
    )
    _run(_FULL + script, folder, *namespaces)


@pytest.mark.lab
def test_a_full_disk_says_so_and_heals(tmp_path: Path) -> None:
    _run_with_mounts(
        """
disk = mount("256k", 100)
asyncio.run(write_atomic(disk, "record", b"old"))
file = disk.create("a")
refused(errno.ENOSPC, file.write_at, b"x" * 1_000_000, 0)
assert 0 < file.size() < 300_000
assert disk.free_bytes() == 0
refused(errno.ENOSPC, file.allocate, 1_000_000)
refused(errno.ENOSPC, lambda: asyncio.run(write_atomic(disk, "record", b"new")))
assert disk.names(".") == ["a", "record"]
assert read_all(disk, "record", 9) == b"old"
disk.unlink("a")
file.close()
asyncio.run(write_atomic(disk, "record", b"new"))
assert read_all(disk, "record", 9) == b"new"
""",
        tmp_path,
    )


@pytest.mark.lab
def test_a_disk_without_inodes_says_so_and_heals(tmp_path: Path) -> None:
    _run_with_mounts(
        """
disk = mount("1m", 4)
for name in "abc":
    disk.create(name).close()
async def lock():
    async with disk.lock("lock"):
        pass
refused(errno.ENOSPC, disk.create, "d")
refused(errno.ENOSPC, disk.make_folder, "f")
refused(errno.ENOSPC, lambda: asyncio.run(lock()))
refused(errno.ENOSPC, lambda: asyncio.run(write_atomic(disk, "record", b"new")))
disk.unlink("a")
asyncio.run(lock())
""",
        tmp_path,
    )


# --- locks between processes


_HOLDER = """
import asyncio, sys
from pathlib import Path
from zentransfer.disk import RealDisk
async def main():
    async with RealDisk(Path(sys.argv[1])).lock("lock"):
        print("held", flush=True)
        sys.stdin.read()
asyncio.run(main())
"""


@pytest.mark.peer
def test_kill_9_of_the_holder_frees_its_lock(tmp_path: Path) -> None:
    async def main() -> None:
        disk = RealDisk(tmp_path)
        holder = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _HOLDER, str(tmp_path), cwd=ROOT / "proto", stdin=-1, stdout=-1
        )
        assert holder.stdout
        assert await holder.stdout.readline() == b"held\n"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), disk.lock("lock"):
                pass
        os.kill(holder.pid, signal.SIGKILL)
        async with asyncio.timeout(5), disk.lock("lock"):
            pass
        await holder.communicate()
        disk.close()

    real_loop(main())
    assert _below(tmp_path) == []


@pytest.mark.peer
def test_a_lock_file_that_vanishes_before_it_is_locked_is_no_lock(tmp_path: Path) -> None:
    # The holder before unlinked it between our open and our flock.
    _run(
        """
unlinked = []
def unlink(event, arguments):
    if event == "fcntl.flock" and not unlinked:
        unlinked.append(True)
        disk.unlink("lock")
sys.addaudithook(unlink)
async def main():
    async with disk.lock("lock"):
        assert unlinked
        assert disk.names(".") == ["lock"]
asyncio.run(main())
""",
        tmp_path,
    )


@pytest.mark.reaches("DISK_LOCK_WAIT_S")
def test_nobody_waits_for_a_lock_for_ever(tmp_path: Path) -> None:
    async def main() -> tuple[float, float]:
        disk, other = RealDisk(tmp_path), RealDisk(tmp_path)
        loop = asyncio.get_running_loop()
        async with disk.lock("lock"):
            start_s = loop.time()
            with pytest.raises(TimeoutError):
                async with other.lock("lock"):
                    pass
            middle_s = loop.time()
            with pytest.raises(TimeoutError):
                async with disk.lock("lock"):
                    pass
        async with other.lock("lock"):
            await asyncio.sleep(2 * DISK_LOCK_WAIT_S)  # who holds it is not hurried
        return middle_s - start_s, loop.time() - middle_s

    other_s, own_s = simulate(main())
    assert other_s == pytest.approx(DISK_LOCK_WAIT_S, abs=0.1)
    assert own_s == pytest.approx(3 * DISK_LOCK_WAIT_S, abs=0.1)
    assert _below(tmp_path) == []
