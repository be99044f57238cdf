import asyncio
import os
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from edge.snapshot import Clash
from edge.workflow.destinations import folder_files as files
from edge.workflow.destinations.base import DestinationError, Fault
from edge.workflow.destinations.folder import FolderDestination
from edge.workflow.destinations.naming import numbered, part_name
from tests.support.destination_suite import (
    CASES,
    FIRST,
    SECOND,
    Case,
    Form,
    Make,
    pieces,
    put,
    refused,
    remote,
)
from tests.support.real_loop import real_loop
from zentransfer.errors import Code
from zentransfer.limits import (
    DELIVERY_CLASHES_MAX,
    DELIVERY_STALE_PARTS_MAX,
    FOLDER_FORGET_S,
    FOLDER_THREADS,
    REMOTE_NAME_BYTES_MAX,
)


def seen(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith(".part")
    }


def in_folder(tmp_path: Path) -> Make:
    numbers = iter(range(1_000))

    @asynccontextmanager
    async def make(clash: Clash) -> AsyncIterator[Form]:
        root = tmp_path / f"root{next(numbers)}"
        (root / "mine").mkdir(parents=True)
        destination = FolderDestination(str(root / "mine"), [tmp_path], clash)
        yield Form(destination, lambda: seen(root / "mine"), lambda: len([*root.rglob("*.part")]))
        end(destination)

    return make


def end(destination: FolderDestination) -> None:
    """Close it, and wait for what its threads still do."""
    threads = destination._threads
    destination.close()
    if threads is not None:
        threads.shutdown(wait=True)


def hang(form: Form) -> threading.Event:
    """Let every thread of *form*, which was used before, hang until the event is set."""
    destination = form.destination
    assert isinstance(destination, FolderDestination)
    assert destination._threads is not None
    hangs = threading.Event()
    for _ in range(FOLDER_THREADS):
        destination._threads.submit(hangs.wait)
    return hangs


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_folder_form_keeps_the_contract(case: Case, tmp_path: Path) -> None:
    real_loop(case(in_folder(tmp_path)))  # type: ignore[arg-type]  # a coroutine function


def one(tmp_path: Path, address: str = "", roots: list[Path] | None = None) -> Form:
    destination = FolderDestination(address or str(tmp_path), roots or [tmp_path])
    return Form(destination, lambda: seen(tmp_path), lambda: len([*tmp_path.rglob("*.part")]))


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    async def main() -> None:
        form = one(tmp_path, str(tmp_path / "nowhere" / "mine"))
        error = await refused(form, remote("a"))
        assert (error.code, error.fault) == (Code.NOT_FOUND, Fault.DESTINATION)
        form.destination.close()

    real_loop(main())


def test_a_file_in_the_place_of_the_folder_is_no_folder(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "mine").write_bytes(b"")
        form = one(tmp_path, str(tmp_path / "mine"))
        error = await refused(form, remote("a"))
        assert (error.code, error.fault) == (Code.NOT_FOUND, Fault.DESTINATION)
        form.destination.close()

    real_loop(main())


@pytest.mark.parametrize("address", ["/elsewhere", "{root}/../elsewhere", "{root}x"])
def test_a_folder_outside_the_operators_roots_is_refused(tmp_path: Path, address: str) -> None:
    async def main() -> None:
        root = tmp_path / "root"
        root.mkdir()
        form = one(tmp_path, address.format(root=root), [root])
        error = await refused(form, remote("a"))
        assert (error.code, error.fault) == (Code.FORBIDDEN, Fault.DESTINATION)
        form.destination.close()

    real_loop(main())


@pytest.mark.parametrize("where", ["address", "virtual folder", "inner virtual folder"])
def test_no_symbolic_link_leads_outside(tmp_path: Path, where: str) -> None:
    async def main() -> None:
        outside, root = tmp_path / "outside", tmp_path / "root"
        (outside / "b").mkdir(parents=True)
        (root / "mine" / "sub").mkdir(parents=True)
        link = {
            "address": root / "link",
            "virtual folder": root / "mine" / "a",
            "inner virtual folder": root / "mine" / "sub" / "b",
        }[where]
        link.symlink_to(outside)
        address = root / ("link" if where == "address" else "mine")
        folder = {"address": (), "virtual folder": ("a",)}.get(where, ("sub", "b"))
        form = one(root, str(address), [root])
        error = await refused(form, remote("a", folder=folder))
        assert error.fault is (Fault.DESTINATION if where == "address" else Fault.OBJECT)
        assert seen(outside) == {}
        form.destination.close()

    real_loop(main())


@pytest.mark.parametrize("kind", ["link", "broken link", "folder", "pipe"])
def test_what_is_no_file_is_never_touched_and_the_object_gets_a_number(
    tmp_path: Path, kind: str
) -> None:
    async def main() -> None:
        there, victim = tmp_path / "in" / "a.jpg", tmp_path / "victim"
        there.parent.mkdir()
        victim.write_bytes(b"content")
        match kind:
            case "link":
                there.symlink_to(victim)
            case "broken link":
                there.symlink_to(tmp_path / "nothing")
            case "folder":
                there.mkdir()
            case _:
                os.mkfifo(there)
        form = one(tmp_path / "in", str(tmp_path / "in"), [tmp_path])
        assert await put(form, remote("a.jpg"), b"content") == "2"
        assert (tmp_path / "in" / "a (2).jpg").read_bytes() == b"content"
        assert victim.read_bytes() == b"content"
        form.destination.close()

    real_loop(main())


def test_a_file_that_appears_while_we_write_is_not_overwritten(tmp_path: Path) -> None:
    async def main() -> None:
        form = one(tmp_path)

        async def content() -> AsyncIterator[memoryview]:
            yield memoryview(b"con")
            (tmp_path / "a.jpg").write_bytes(b"theirs")
            yield memoryview(b"tent")

        digest = sha256(b"content").digest()
        ref = await form.destination.put(
            remote("a.jpg"), content(), size=7, digest=digest, resume_ref=""
        )
        assert ref.text == "2"
        assert seen(tmp_path) == {"a.jpg": b"theirs", "a (2).jpg": b"content"}
        form.destination.close()

    real_loop(main())


@pytest.mark.reaches("DELIVERY_STALE_PARTS_MAX")
def test_stale_parts_of_the_same_delivery_are_cleared_and_others_are_not(tmp_path: Path) -> None:
    async def main() -> None:
        form = one(tmp_path)
        fence = DELIVERY_STALE_PARTS_MAX + 5
        own = [part_name(remote("a"), n) for n in (1, 4, 5, fence - 1, fence)]
        foreign = [part_name(remote("a", SECOND), 5), part_name(remote("b"), 5), "a.part"]
        for name in (*own, *foreign):
            (tmp_path / name).write_bytes(b"stale")
        await put(form, remote("a", fence=fence), b"content")
        left = set(os.listdir(tmp_path)) - {"a"}
        assert left == {own[0], own[1], *foreign}  # the very old ones are beyond the limit
        form.destination.close()

    real_loop(main())


@pytest.mark.reaches("DELIVERY_CLASHES_MAX")
def test_names_run_out_at_last(tmp_path: Path) -> None:
    async def main() -> None:
        form = one(tmp_path)
        for number in range(1, DELIVERY_CLASHES_MAX):
            (tmp_path / numbered("a", number)).write_bytes(b"other, longer")
        assert await put(form, remote("a"), b"content") == str(DELIVERY_CLASHES_MAX)
        error = await refused(form, remote("a", SECOND), b"again")
        assert (error.code, error.fault) == (Code.CONFLICT, Fault.OBJECT)
        form.destination.close()

    real_loop(main())


def test_what_is_delivered_is_as_readable_as_its_folder(tmp_path: Path) -> None:
    async def main() -> None:
        os.chmod(tmp_path, 0o755)
        form = one(tmp_path)
        before = os.umask(0o077)  # as every process of ours has it
        try:
            await put(form, remote("a", folder=("sub",)), b"content")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "sub").stat().st_mode) == 0o755
        assert stat.S_IMODE((tmp_path / "sub" / "a").stat().st_mode) == 0o644
        form.destination.close()

    real_loop(main())


@pytest.mark.reaches("FOLDER_THREADS")
def test_a_folder_that_hangs_holds_up_its_own_deliveries_only(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "x").mkdir()
        (tmp_path / "y").mkdir()
        hung, sound = one(tmp_path / "x"), one(tmp_path / "y")
        await put(hung, remote("warm"), b"up")
        hangs = hang(hung)
        async with asyncio.TaskGroup() as group:
            late = group.create_task(put(hung, remote("a"), b"late"))
            await put(sound, remote("a"), b"content")
            await asyncio.sleep(0.05)
            assert not late.done()
            hangs.set()
        assert seen(tmp_path) == {"x/warm": b"up", "x/a": b"late", "y/a": b"content"}
        hung.destination.close()
        sound.destination.close()

    real_loop(main())


@pytest.mark.reaches("FOLDER_FORGET_S")
def test_an_attempt_that_ends_in_a_folder_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        form = one(tmp_path)
        loop = asyncio.get_running_loop()
        begun: list[threading.Event] = []
        ended: list[float] = []

        async def content() -> AsyncIterator[memoryview]:
            yield memoryview(b"con")
            begun.append(hang(form))
            yield memoryview(b"tent")

        async def attempt() -> None:
            try:
                await form.destination.put(
                    remote("a"), content(), size=7, digest=None, resume_ref=""
                )
            finally:
                ended.append(loop.time())

        gaps: list[float] = []
        async with asyncio.TaskGroup() as group:
            task = group.create_task(attempt())
            while not begun:  # noqa: ASYNC110 - the threads tell nobody
                await asyncio.sleep(0.01)
            cancelled = loop.time()
            task.cancel()
            while not ended:
                before = loop.time()
                await asyncio.sleep(0.01)
                gaps.append(loop.time() - before)
        assert FOLDER_FORGET_S <= ended[0] - cancelled < FOLDER_FORGET_S + 5
        assert len(gaps) > 10, "the loop went on"
        destination = form.destination
        assert isinstance(destination, FolderDestination)
        begun[0].set()
        end(destination)
        assert seen(tmp_path) == {}

    real_loop(main())


@pytest.mark.parametrize("clash", [Clash.KEEP_BOTH, Clash.REPLACE])
def test_a_part_that_a_newer_attempt_cleared_says_nothing_against_the_folder(
    tmp_path: Path, clash: Clash
) -> None:
    async def main() -> None:
        destination = FolderDestination(str(tmp_path), [tmp_path], clash)

        async def content() -> AsyncIterator[memoryview]:
            yield memoryview(b"con")
            os.unlink(tmp_path / part_name(remote("a"), 1))
            yield memoryview(b"tent")

        with pytest.raises(DestinationError) as caught:
            await destination.put(remote("a"), content(), size=7, digest=None, resume_ref="")
        assert (caught.value.code, caught.value.fault) == (Code.FENCED, Fault.TEMPORARY)
        assert os.listdir(tmp_path) == []
        destination.close()

    real_loop(main())


@pytest.mark.parametrize("clash", [Clash.REPLACE, Clash.FAIL])
def test_a_folder_of_that_name_is_never_replaced(tmp_path: Path, clash: Clash) -> None:
    async def main() -> None:
        (tmp_path / "a").mkdir()
        destination = FolderDestination(str(tmp_path), [tmp_path], clash)
        form = Form(destination, lambda: seen(tmp_path), lambda: len([*tmp_path.rglob("*.part")]))
        error = await refused(form, remote("a"), b"content")
        assert (error.code, error.fault) == (Code.CONFLICT, Fault.OBJECT)
        assert (tmp_path / "a").is_dir()
        destination.close()

    real_loop(main())


def test_a_put_that_is_cancelled_at_any_moment_leaves_no_descriptor_and_no_part(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        form = one(tmp_path)
        content = bytes(50_000)
        await put(form, remote("warm"), b"up")
        before = len(os.listdir("/proc/self/fd"))
        loop = asyncio.get_running_loop()
        for turn in range(60):
            async with asyncio.TaskGroup() as group:
                task = group.create_task(
                    form.destination.put(
                        remote(f"a{turn}", folder=("s",)),
                        pieces(content, 10_000),
                        size=len(content),
                        digest=None,
                        resume_ref="",
                    )
                )
                ends = loop.time() + turn * 0.000_2
                while loop.time() < ends and not task.done():  # noqa: ASYNC110 - any moment
                    await asyncio.sleep(0)
                task.cancel()
        destination = form.destination
        assert isinstance(destination, FolderDestination)
        end(destination)
        assert len(os.listdir("/proc/self/fd")) <= before
        assert {len(each) for each in seen(tmp_path).values()} <= {2, len(content)}

    real_loop(main())


@pytest.mark.reaches("REMOTE_NAME_BYTES_MAX")
def test_the_longest_name_that_there_can_be_is_taken(tmp_path: Path) -> None:
    async def main() -> None:
        form = one(tmp_path)
        name = "n" * REMOTE_NAME_BYTES_MAX
        await put(form, remote(name), b"content")
        assert seen(tmp_path) == {name: b"content"}
        error = await refused(form, remote(name + "n"))
        assert error.code is Code.INVALID
        form.destination.close()

    real_loop(main())


def test_what_the_disk_gives_back_is_what_counts(tmp_path: Path) -> None:
    # The step that reads back is asked about a file that changed under it.
    path = tmp_path / "part"
    path.write_bytes(b"content")
    descriptor = os.open(path, os.O_RDWR)
    path.write_bytes(b"changed")
    try:
        stored = files.flushed_digest(descriptor)
    finally:
        os.close(descriptor)
    assert stored == files.Part(7, sha256(b"changed").digest())


MOUNTED = """
import asyncio, sys
from pathlib import Path
from edge.workflow.destinations.base import DestinationError
from edge.workflow.destinations.folder import FolderDestination
from tests.support.destination_suite import FIRST, pieces, remote

async def main():
    folder = Path(sys.argv[1])
    destination = FolderDestination(str(folder), [folder])
    try:
        await destination.put(remote("a"), pieces(bytes(300_000), 65536), size=300_000, digest=None,
                              resume_ref="")
    except DestinationError as error:
        print(error.code, error.fault, sorted(p.name for p in folder.iterdir()))
    destination.close()

with asyncio.Runner() as runner:
    runner.run(main())
"""


def mounted(tmp_path: Path, mount: str) -> str:
    """Run the script in a mount namespace of its own, in which *mount* was done."""
    (tmp_path / "m").mkdir()
    (tmp_path / "script.py").write_text(MOUNTED)
    program = f'{mount} && exec "{sys.executable}" "{tmp_path}/script.py" "{tmp_path}/m"'
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-ec", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.lab
def test_a_read_only_folder_is_said_to_be_closed(tmp_path: Path) -> None:
    at = tmp_path / "m"
    said = mounted(tmp_path, f'mount -t tmpfs none "{at}" -o ro')
    assert said == "forbidden destination []"


@pytest.mark.lab
def test_a_full_folder_is_full_for_now_and_is_left_clean(tmp_path: Path) -> None:
    at = tmp_path / "m"
    said = mounted(tmp_path, f'mount -t tmpfs none "{at}" -o size=128k')
    assert said == "insufficient_storage temporary []"


@pytest.mark.lab
def test_a_folder_without_room_for_names_is_full_too(tmp_path: Path) -> None:
    at = tmp_path / "m"
    said = mounted(tmp_path, f'mount -t tmpfs none "{at}" -o nr_inodes=1')
    assert said == "insufficient_storage temporary []"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_without_the_right_to_write_is_closed() -> None:
    # A process of its own gives its rights up, once everything that it needs is imported.
    script = MOUNTED.replace("with asyncio", "import os\nos.seteuid(65534)\nwith asyncio")
    with TemporaryDirectory() as made:  # pytest's own folders are closed to other users
        Path(made).chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", script, made],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": "/usr/bin:/bin"},
        )
    assert done.stdout.strip() == "forbidden destination []", done.stderr


def test_errors_name_no_path(tmp_path: Path) -> None:
    async def main() -> None:
        form = one(tmp_path, str(tmp_path / "nowhere"))
        with pytest.raises(DestinationError) as caught:
            await put(form, remote("secret name.jpg", FIRST), b"x")
        assert "secret" not in str(caught.value)
        assert "/" not in str(caught.value)
        form.destination.close()

    real_loop(main())
