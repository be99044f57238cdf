"""Interim responses on a connection that records what is written."""

import asyncio

import pytest

from edge.http.interim import Interim
from tests.support.sim import simulate
from zentransfer.limits import INTERIM_PAUSE_S

SAID = {"Upload-Draft-Interop-Version": "8"}


class Wire(asyncio.Transport):
    """What was written, and how much of it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.waiting = 0
        self.is_gone = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_gone

    def get_write_buffer_size(self) -> int:
        return self.waiting


def test_a_104_says_the_version_and_what_it_is_for() -> None:
    async def run() -> None:
        wire = Wire()
        interim = Interim(wire, SAID)
        assert interim.is_on
        interim.send({"Location": "/files/a"})
        assert wire.written == [
            b"HTTP/1.1 104 Upload Resumption Supported\r\n"
            b"Upload-Draft-Interop-Version: 8\r\nLocation: /files/a\r\n\r\n"
        ]

    simulate(run())


def test_who_named_no_version_gets_none() -> None:
    async def run() -> None:
        wire = Wire()
        for interim in (Interim(wire, None), Interim(None, None)):
            assert not interim.is_on
            interim.send({})
            with interim.watching(lambda: 5):
                await asyncio.sleep(2 * INTERIM_PAUSE_S)
        assert wire.written == []

    simulate(run())


def test_who_does_not_read_and_who_has_gone_gets_no_more() -> None:
    async def run() -> None:
        wire = Wire()
        interim = Interim(wire, SAID)
        wire.waiting = 1
        interim.send({})
        wire.waiting, wire.is_gone = 0, True
        interim.send({})
        assert wire.written == []

    simulate(run())


def test_none_comes_once_the_final_response_begins() -> None:
    async def run() -> None:
        wire = Wire()
        interim = Interim(wire, SAID)
        with interim.watching(lambda: 7):
            interim.end()
            interim.send({})
            await asyncio.sleep(3 * INTERIM_PAUSE_S)
        assert wire.written == []

    simulate(run())


@pytest.mark.reaches("INTERIM_PAUSE_S")
def test_progress_is_told_at_most_so_often_and_only_when_there_is_some() -> None:
    async def run() -> None:
        wire, begun_s = Wire(), asyncio.get_running_loop().time()

        def offset() -> int:
            passed_s = asyncio.get_running_loop().time() - begun_s
            return min(int(passed_s / INTERIM_PAUSE_S) * 1_000, 4_000)

        with Interim(wire, SAID).watching(offset):
            await asyncio.sleep(10.5 * INTERIM_PAUSE_S)
        told = [b"Upload-Offset: %d\r\n" % (1_000 * count) for count in range(1, 5)]
        assert [each in sent for each, sent in zip(told, wire.written, strict=True)] == [True] * 4

    simulate(run())


def test_nothing_is_told_any_more_when_the_content_has_come_or_was_cut() -> None:
    async def run() -> None:
        wire = Wire()
        with pytest.raises(OSError, match="cut"), Interim(wire, SAID).watching(lambda: 7):
            raise OSError("cut")
        await asyncio.sleep(3 * INTERIM_PAUSE_S)
        assert wire.written == []

    simulate(run())
