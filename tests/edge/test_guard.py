import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.guard import Blocked, Guard, Policy, Resolver, Unreachable
from tests.support.real_loop import real_loop
from tests.support.sim import simulate
from zentransfer.health import listen
from zentransfer.limits import GUARD_ADDRESSES_MAX, GUARD_DIAL_S, GUARD_RESOLVERS
from zentransfer.reachable import is_public

PUBLIC = "93.184.216.34"


class Answers:
    """A name server that gives one answer after the other, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def looked(
    host: str, *answers: Sequence[str], port: int = 443, policy: Policy | None = None
) -> object:
    return simulate(Guard(policy or Policy(), Answers(*answers)).addresses(host, port))


@given(st.lists(st.ip_addresses().map(str), min_size=1, max_size=5))
def test_one_bad_address_refuses_the_name(texts: list[str]) -> None:
    guard = Guard(Policy(), Answers(texts))
    is_good = all(is_public(each) for each in map(_address, texts))
    try:
        found = simulate(guard.addresses("s3.example.com", 443))
    except Blocked:
        assert not is_good
    else:
        assert is_good
        assert {str(each) for each in found} == set(texts)


def _address(text: str) -> IPv4Address | IPv6Address:
    return IPv6Address(text) if ":" in text else IPv4Address(text)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:10.0.0.1"),
        *("64:ff9b::a9fe:a9fe", "2002:7f00:1::", "[fd00:ec2::254]", "fe80::1%lo"),
    ],
)
def test_a_literal_is_judged_without_asking_anybody(host: str) -> None:
    answers = Answers([PUBLIC])
    with pytest.raises(Blocked):
        simulate(Guard(Policy(), answers).addresses(host, 443))
    assert answers.asked == []


@pytest.mark.parametrize(
    "host", ["0x7f000001", "2130706433", "127.1", "0177.0.0.1", "localhost", "①②⑦.0.0.1"]
)
def test_what_a_library_takes_for_a_number_is_judged_by_what_it_becomes(host: str) -> None:
    """The machine's own resolver makes loopback of these, or nothing at all."""

    async def look() -> None:
        resolver = Resolver()
        with pytest.raises((Blocked, Unreachable)):
            await Guard(Policy(), resolver).addresses(host, 443)
        resolver.close()

    real_loop(look())


@pytest.mark.parametrize("port", [0, 21, 22, 25, 80, 6379, 8001, 65535])
def test_a_port_is_one_of_a_list(port: int) -> None:
    with pytest.raises(Blocked):
        looked("s3.example.com", [PUBLIC], port=port)
    assert looked("s3.example.com", [PUBLIC], port=port, policy=Policy(ports=(port,)))


@pytest.mark.parametrize("address", ["93.184.216.34", "::ffff:93.184.216.34"])
def test_our_own_networks_are_refused_too(address: str) -> None:
    policy = Policy(networks=(ip_network("93.184.216.0/24"),))
    with pytest.raises(Blocked):
        looked("s3.example.com", [address], policy=policy)


def test_a_name_is_complete_as_it_stands() -> None:
    answers = Answers([PUBLIC])
    simulate(Guard(Policy(), answers).addresses("s3.example.com", 443))
    assert answers.asked == ["s3.example.com."], "no search list is appended"


@pytest.mark.reaches("GUARD_ADDRESSES_MAX")
def test_a_name_with_far_too_many_addresses_is_none() -> None:
    many = [f"93.184.{n}.34" for n in range(GUARD_ADDRESSES_MAX)]
    assert looked("s3.example.com", many)
    for answer in ([*many, "93.184.216.35"], []):
        with pytest.raises(Unreachable):
            looked("s3.example.com", answer)


@pytest.mark.reaches("GUARD_DIAL_S")
def test_a_name_server_that_hangs_is_given_up() -> None:
    async def hangs(_: str) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async def look() -> float:
        with pytest.raises(Unreachable):
            await Guard(Policy(), hangs).addresses("s3.example.com", 443)
        return asyncio.get_running_loop().time()

    assert simulate(look()) == pytest.approx(GUARD_DIAL_S, abs=1)


def test_a_name_that_is_public_first_and_loopback_then_is_never_dialled_there() -> None:
    """Rebinding: what was judged is what is dialled, and each dial judges anew."""

    async def dial() -> None:
        with listen("127.0.0.1", 0, "victim") as victim:
            port = victim.getsockname()[1]
            answers = Answers([PUBLIC], ["127.0.0.1"])
            guard = Guard(Policy(ports=(port,)), answers)
            await guard.addresses("rebind.example.com", port)
            with pytest.raises(Blocked):
                await guard.dial("rebind.example.com", port)
            victim.setblocking(False)
            with pytest.raises(BlockingIOError):
                victim.accept()

    real_loop(dial())


def test_the_connection_goes_to_the_address_that_was_judged() -> None:
    async def dial() -> None:
        with listen("127.0.0.1", 0, "peer") as peer:
            port = peer.getsockname()[1]
            answers = Answers(["127.0.0.2", "127.0.0.1"])  # nobody listens at the first one
            _, writer = await Guard(Policy(is_lab=True), answers).dial("a.example.com", port)
            assert writer.get_extra_info("peername") == ("127.0.0.1", port)
            assert answers.asked == ["a.example.com."]
            writer.close()
            await writer.wait_closed()

    real_loop(dial())


def test_where_nobody_listens_is_not_reached() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        port = closed.getsockname()[1]
        guard = Guard(Policy(is_lab=True), Answers(["127.0.0.1"]))
        with pytest.raises(Unreachable):
            real_loop(guard.dial("a.example.com", port))


@pytest.mark.reaches("GUARD_RESOLVERS")
def test_so_many_names_are_asked_for_at_once() -> None:
    resolver = Resolver()
    assert resolver._threads._max_workers == GUARD_RESOLVERS
    assert "127.0.0.1" in real_loop(resolver("localhost"))
    resolver.close()


@pytest.mark.parametrize("name", ["no-such-name.invalid.", "a" * 70 + ".example.", "a..b."])
def test_what_has_no_address_is_unreachable(name: str) -> None:
    async def look() -> None:
        resolver = Resolver()
        with pytest.raises(Unreachable):
            await Guard(Policy(), resolver).addresses(name, 443)
        resolver.close()

    real_loop(look())
