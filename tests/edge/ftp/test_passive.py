import asyncio
from random import Random

import pytest

from edge.ftp.passive import NoDataPort, PassivePorts, Reservation, plain_address
from tests.support.ftp_door import dialled, one_port
from tests.support.ports import DATA
from tests.support.real_loop import real_loop
from zentransfer.limits import FTP_PORT_TRIES_MAX

HERE, THERE = "127.0.0.1", "127.0.0.2"


async def is_dropped(port: int, source: str = HERE) -> bool:
    """Say whether a connection to *port* is ended by the other side without a word."""
    reader, writer = await dialled(port, source)
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True
    finally:
        writer.close()


async def arrived(reserved: Reservation, source: str) -> None:
    _, writer = await dialled(reserved.port, source)
    try:
        await reserved.data.connected(5)
    finally:
        writer.close()


@pytest.mark.parametrize("uvloop", [False, True])
def test_a_connection_from_another_address_is_dropped_and_the_right_one_taken(
    uvloop: bool,
) -> None:
    async def main() -> None:
        ports = PassivePorts(HERE, DATA, Random())
        reserved = await ports.reserve(HERE)
        assert await is_dropped(reserved.port, THERE)
        await arrived(reserved, HERE)
        assert await is_dropped(reserved.port), "it was good for one connection"
        reserved.end()
        ports.close()

    real_loop(main(), uvloop=uvloop)


def test_clients_of_two_addresses_share_a_port() -> None:
    async def main() -> None:
        ports = PassivePorts(HERE, one_port(), Random())
        here, there = await ports.reserve(HERE), await ports.reserve(THERE)
        assert here.port == there.port
        await arrived(there, THERE)
        await arrived(here, HERE)
        here.end()
        there.end()
        ports.close()

    real_loop(main())


@pytest.mark.reaches("FTP_PORT_TRIES_MAX")
def test_a_client_that_holds_every_port_gets_no_further_one() -> None:
    class Counted(Random):
        drawn = 0

        def choice(self, seq: range) -> int:  # type: ignore[override]
            self.drawn += 1
            return super().choice(seq)

    async def main() -> None:
        random = Counted()
        ports = PassivePorts(HERE, one_port(), random)
        reserved = await ports.reserve(HERE)
        random.drawn = 0
        with pytest.raises(NoDataPort):
            await ports.reserve(HERE)
        assert random.drawn == FTP_PORT_TRIES_MAX
        reserved.end()
        assert await is_dropped(reserved.port), "nobody is expected any more"
        (await ports.reserve(HERE)).end()
        ports.close()

    real_loop(main())


def test_a_port_of_another_process_is_never_shared() -> None:
    async def main() -> None:
        range_of_one = one_port()
        ours, theirs = (PassivePorts(HERE, range_of_one, Random()) for _ in range(2))
        (await ours.reserve(HERE)).end()
        with pytest.raises(NoDataPort):
            await theirs.reserve(HERE)
        ours.close()
        await asyncio.sleep(0)  # the loop lets go of it in a turn
        (await theirs.reserve(HERE)).end()
        theirs.close()

    real_loop(main())


def test_an_end_that_is_late_takes_nothing_from_the_next() -> None:
    async def main() -> None:
        ports = PassivePorts(HERE, one_port(), Random())
        first = await ports.reserve(HERE)
        first.end()
        second = await ports.reserve(HERE)
        first.end()
        await arrived(second, HERE)
        second.end()
        ports.close()

    real_loop(main())


@pytest.mark.parametrize(
    ("host", "plain"),
    [("127.0.0.1", "127.0.0.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("fe80::1%lo", "fe80::1")],
)
def test_an_address_has_one_form(host: str, plain: str) -> None:
    assert plain_address(host) == plain
