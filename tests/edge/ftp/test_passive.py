import asyncio
from random import Random

import pytest

from edge.doors import passive_ports
from edge.ftp.addresses import Nat, Peer, network_of, plain_address
from edge.ftp.passive import NoDataPort, PassivePorts, Reservation
from edge.settings import EdgeSettings
from tests.support.ftp_door import dialled, one_port
from tests.support.ports import DATA
from tests.support.real_loop import real_loop
from zentransfer.limits import FTP_DATA_WAIT_S, FTP_PORT_TRIES_MAX, FTP_RESERVED_S

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


@pytest.mark.parametrize(
    ("own", "nat", "told"),
    [
        ("10.0.0.5", Nat(), "10.0.0.5"),
        ("10.0.0.5", Nat("203.0.113.7"), "203.0.113.7"),
        ("10.0.0.5", Nat(None, {"10.0.0.5": "203.0.113.5"}), "203.0.113.5"),
        ("10.0.0.6", Nat(None, {"10.0.0.5": "203.0.113.5"}), "10.0.0.6"),
        ("10.0.0.6", Nat("203.0.113.7", {"10.0.0.5": "203.0.113.5"}), "203.0.113.7"),
    ],
)
def test_pasv_tells_what_clients_reach_us_at(own: str, nat: Nat, told: str) -> None:
    assert nat.told(own) == told


NETWORKS = [("127.0.0.1", "127.0.0.0/24"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64")]


@pytest.mark.parametrize(("address", "network"), NETWORKS)
def test_a_network_is_what_one_sender_comes_from(address: str, network: str) -> None:
    assert network_of(address) == network
    assert Nat(peer=Peer.NETWORK).expected(address) == network
    assert Nat(peer=Peer.SAME).expected(address) == address
    assert Nat(peer=Peer.ANY).expected(address) == ""


@pytest.mark.parametrize(
    ("peer", "source", "is_taken"),
    [
        (Peer.SAME, "127.0.0.2", False),
        (Peer.NETWORK, "127.0.0.2", True),
        (Peer.NETWORK, "127.0.1.1", False),
        (Peer.ANY, "127.0.1.1", True),
    ],
)
def test_who_may_make_the_data_connection_is_a_setting(
    peer: Peer, source: str, is_taken: bool
) -> None:
    async def main() -> None:
        ports = PassivePorts(HERE, DATA, Random(), Nat(peer=peer))
        reserved = await ports.reserve(HERE)
        if is_taken:
            await arrived(reserved, source)
        else:
            assert await is_dropped(reserved.port, source)
            await arrived(reserved, HERE)
        assert await is_dropped(reserved.port), "it was good for one connection"
        reserved.end()
        ports.close()

    real_loop(main())


def test_a_listener_of_both_families_takes_data_by_each() -> None:
    async def main() -> None:
        ports = PassivePorts("::", DATA, Random())
        for address in (HERE, "::1"):
            reserved = await ports.reserve(address)
            await arrived(reserved, address)
            reserved.end()
        ports.close()

    real_loop(main())


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_workers_ranges_are_disjoint(workers: int) -> None:
    settings = EdgeSettings.model_validate({"workers": workers})
    ranges = [set(passive_ports(settings, index)) for index in range(workers)]
    assert len(set[int]().union(*ranges)) == sum(map(len, ranges)) <= 1000
    assert all(len(each) == 1000 // workers for each in ranges)


@pytest.mark.reaches("FTP_RESERVED_S")
def test_who_never_comes_keeps_no_port() -> None:
    assert FTP_RESERVED_S > FTP_DATA_WAIT_S

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ports = PassivePorts(HERE, one_port(), Random())
        await ports.reserve(HERE)
        ended, claimed = await ports.reserve(THERE), await ports.reserve("127.0.0.3")
        ended.end()
        assert ports.claim(claimed.port, "127.0.0.3") is claimed.data
        (timer,) = ports._timers.values()
        assert FTP_RESERVED_S - 1 < timer.when() - loop.time() <= FTP_RESERVED_S
        with pytest.raises(NoDataPort):
            await ports.reserve(HERE)
        timer._run()  # as the loop does when its time has come
        again = await ports.reserve(HERE)
        again.end()
        assert not ports._timers
        ports.close()

    real_loop(main())
