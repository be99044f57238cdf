"""What every kind of destination keeps: one suite, each form passes it.

A form is given as a ``Form``: the destination, and how to look at what anybody sees there.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import pytest

from edge.snapshot import Clash
from edge.workflow.destinations.base import Destination, DestinationError, Fault, RemoteName
from zentransfer.errors import Code
from zentransfer.ids import DeliveryID

FIRST: Final = DeliveryID("de_" + "a" * 26)
SECOND: Final = DeliveryID("de_" + "e" * 26)


@dataclass
class Form:
    """One destination, what is seen there by path, and what is on its way there."""

    destination: Destination
    objects: Callable[[], Mapping[str, bytes]]
    parts: Callable[[], int]


Make = Callable[[Clash], AbstractAsyncContextManager[Form]]
Case = Callable[[Make], Awaitable[None]]


class Broke(Exception):
    """What the source of the content raised."""


async def pieces(content: bytes, size: int = 3) -> AsyncIterator[memoryview]:
    for begin in range(0, len(content), size):
        yield memoryview(content)[begin : begin + size]
        await asyncio.sleep(0)


def remote(
    name: str, delivery: DeliveryID = FIRST, fence: int = 1, folder: tuple[str, ...] = ()
) -> RemoteName:
    return RemoteName(folder, name, delivery, fence)


async def put(form: Form, name: RemoteName, content: bytes, *, known: bool = True) -> str:
    ref = await form.destination.put(
        name,
        pieces(content),
        size=len(content),
        digest=sha256(content).digest() if known else None,
        resume_ref="",
    )
    assert ref.size == len(content)
    assert ref.digest == sha256(content).digest()
    return ref.text


async def refused(form: Form, name: RemoteName, content: bytes = b"x") -> DestinationError:
    with pytest.raises(DestinationError) as caught:
        await put(form, name, content)
    assert form.parts() == 0
    return caught.value


async def an_object_lies_in_its_folder(make: Make) -> None:
    async with make(Clash.KEEP_BOTH) as form:
        await put(form, remote("a.jpg", folder=("2026", "may day")), b"content")
        await put(form, remote("empty", SECOND), b"", known=False)
        assert form.objects() == {"2026/may day/a.jpg": b"content", "empty": b""}
        assert form.parts() == 0


async def the_same_again_is_not_put_twice(make: Make) -> None:
    for known in (True, False):
        async with make(Clash.KEEP_BOTH) as form:
            texts = [
                await put(form, remote("a.jpg", fence=fence), b"content", known=known)
                for fence in (1, 2)
            ]
            texts.append(await put(form, remote("a.jpg", SECOND), b"content", known=known))
            assert texts == ["1", "1", "1"]
            assert form.objects() == {"a.jpg": b"content"}


async def what_is_there_already_is_not_read_again(make: Make) -> None:
    async with make(Clash.KEEP_BOTH) as form:
        await put(form, remote("a.jpg"), b"content")
        read: list[int] = []

        async def content() -> AsyncIterator[memoryview]:
            read.append(1)
            yield memoryview(b"content")

        digest = sha256(b"content").digest()
        await form.destination.put(
            remote("a.jpg", fence=2), content(), size=7, digest=digest, resume_ref="1"
        )
        assert read == []


async def other_content_of_one_name_is_numbered(make: Make) -> None:
    async with make(Clash.KEEP_BOTH) as form:
        for content in (b"one", b"two", b"three"):
            await put(form, remote("a.b.jpg"), content)
        await put(form, remote("a.b.jpg", SECOND), b"two")
        assert form.objects() == {
            "a.b.jpg": b"one",
            "a.b (2).jpg": b"two",
            "a.b (3).jpg": b"three",
        }


async def the_owner_may_have_it_replaced(make: Make) -> None:
    async with make(Clash.REPLACE) as form:
        await put(form, remote("a.jpg"), b"one")
        await put(form, remote("a.jpg", SECOND), b"other")
        assert form.objects() == {"a.jpg": b"other"}


async def the_owner_may_have_it_refused(make: Make) -> None:
    async with make(Clash.FAIL) as form:
        await put(form, remote("a.jpg"), b"one")
        error = await refused(form, remote("a.jpg", SECOND), b"other")
        assert (error.code, error.fault) == (Code.CONFLICT, Fault.OBJECT)
        await put(form, remote("a.jpg", SECOND), b"one")
        assert form.objects() == {"a.jpg": b"one"}


async def content_that_breaks_shows_nothing(make: Make) -> None:
    async def broken() -> AsyncIterator[memoryview]:
        yield memoryview(b"half")
        raise Broke

    async with make(Clash.KEEP_BOTH) as form:
        with pytest.raises(Broke):
            await form.destination.put(
                remote("a.jpg"), broken(), size=8, digest=None, resume_ref=""
            )
        assert form.objects() == {}
        assert form.parts() == 0


async def content_of_another_size_shows_nothing(make: Make) -> None:
    for size in (0, 3, 5, 100):
        async with make(Clash.KEEP_BOTH) as form:
            with pytest.raises(DestinationError) as caught:
                await form.destination.put(
                    remote("a.jpg"), pieces(b"four"), size=size, digest=None, resume_ref=""
                )
            assert (caught.value.code, caught.value.fault) == (
                Code.CHECKSUM_MISMATCH,
                Fault.TEMPORARY,
            )
            assert form.objects() == {}
            assert form.parts() == 0


async def content_of_another_digest_shows_nothing(make: Make) -> None:
    async with make(Clash.KEEP_BOTH) as form:
        with pytest.raises(DestinationError) as caught:
            await form.destination.put(
                remote("a.jpg"), pieces(b"four"), size=4, digest=bytes(32), resume_ref=""
            )
        assert caught.value.code is Code.CHECKSUM_MISMATCH
        assert form.objects() == {}
        assert form.parts() == 0


async def nothing_is_seen_before_the_content_ended(make: Make) -> None:
    async with make(Clash.KEEP_BOTH) as form:
        seen: list[int] = []

        async def watched() -> AsyncIterator[memoryview]:
            for _ in range(4):
                yield memoryview(b"x")
                seen.append(len(form.objects()))

        await form.destination.put(remote("a"), watched(), size=4, digest=None, resume_ref="")
        assert seen == [0, 0, 0, 0]
        assert form.objects() == {"a": b"xxxx"}


async def a_cancelled_put_shows_nothing(make: Make) -> None:
    async with make(Clash.KEEP_BOTH) as form:
        stalled = asyncio.Event()

        async def endless() -> AsyncIterator[memoryview]:
            yield memoryview(b"x")
            stalled.set()
            await asyncio.Event().wait()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(
                form.destination.put(remote("a"), endless(), size=9, digest=None, resume_ref="")
            )
            await stalled.wait()
            task.cancel()
        assert form.objects() == {}
        assert form.parts() == 0


async def two_attempts_at_once_make_one_object(make: Make) -> None:
    async with make(Clash.KEEP_BOTH) as form:
        content = bytes(range(100))
        async with asyncio.TaskGroup() as group:
            for fence in (3, 4):
                group.create_task(_try_to_put(form, remote("a", fence=fence), content))
        assert form.objects() == {"a": content}
        assert form.parts() == 0


async def two_uploads_of_one_name_at_once_both_stay(make: Make) -> None:
    async with make(Clash.KEEP_BOTH) as form:
        async with asyncio.TaskGroup() as group:
            for number in range(6):
                delivery = DeliveryID("de_" + "abcdef"[number] * 25 + "a")
                group.create_task(put(form, remote("a.jpg", delivery), bytes([number]) * 50))
        assert sorted(form.objects().values()) == [bytes([n]) * 50 for n in range(6)]
        names = {"a.jpg"} | {f"a ({n}).jpg" for n in range(2, 7)}
        assert set(form.objects()) == names


async def what_cannot_be_a_name_is_refused(make: Make) -> None:
    names: list[tuple[tuple[str, ...], str]] = [
        ((), ".."),
        ((), ""),
        ((), "a/b"),
        ((), "a\0b"),
        ((), "a\nb"),
        ((), "x" * 256),
        (("..",), "a"),
        (("a", ".."), "a"),
        (("/etc",), "a"),
        (("",), "a"),
    ]
    async with make(Clash.KEEP_BOTH) as form:
        for folder, name in names:
            error = await refused(form, remote(name, folder=folder))
            assert (error.code, error.fault) == (Code.INVALID, Fault.OBJECT)
        assert form.objects() == {}


async def a_long_name_is_kept_whole(make: Make) -> None:
    async with make(Clash.KEEP_BOTH) as form:
        name = "é" * 125 + ".jpg"
        await put(form, remote(name), b"one")
        await put(form, remote(name), b"two")
        assert form.objects()[name] == b"one"
        (other,) = set(form.objects()) - {name}
        assert other.endswith(" (2).jpg")


async def one_that_is_closed_ends_what_it_does(make: Make) -> None:
    """It is closed when others are used more; what is under way, or comes late, is put."""
    async with make(Clash.KEEP_BOTH) as form:

        async def content() -> AsyncIterator[memoryview]:
            yield memoryview(b"con")
            form.destination.close()
            yield memoryview(b"tent")

        await form.destination.put(remote("a"), content(), size=7, digest=None, resume_ref="")
        await put(form, remote("late", SECOND), b"late")
        assert form.objects() == {"a": b"content", "late": b"late"}


async def _try_to_put(form: Form, name: RemoteName, content: bytes) -> Any:
    """Put as an attempt does that may find its part cleared by a newer one."""
    try:
        await put(form, name, content, known=False)
    except DestinationError as error:
        assert error.fault is not Fault.OBJECT  # noqa: PT017


CASES: Final[list[Case]] = [
    an_object_lies_in_its_folder,
    the_same_again_is_not_put_twice,
    what_is_there_already_is_not_read_again,
    other_content_of_one_name_is_numbered,
    the_owner_may_have_it_replaced,
    the_owner_may_have_it_refused,
    content_that_breaks_shows_nothing,
    content_of_another_size_shows_nothing,
    content_of_another_digest_shows_nothing,
    nothing_is_seen_before_the_content_ended,
    a_cancelled_put_shows_nothing,
    two_attempts_at_once_make_one_object,
    two_uploads_of_one_name_at_once_both_stay,
    what_cannot_be_a_name_is_refused,
    a_long_name_is_kept_whole,
    one_that_is_closed_ends_what_it_does,
]
