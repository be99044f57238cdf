import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops import ports
from zentransfer.ids import Region
from zentransfer.limits import INGEST_WORKERS_MAX, PORT_BASE_MAX

bases = st.integers(1, PORT_BASE_MAX)
some_regions = st.lists(st.sampled_from(Region), min_size=1, unique=True)


def test_the_ports_are_those_of_the_contract() -> None:
    numbers = {port.role: port.number for port in ports.table(8000, Region)}
    assert numbers == {
        "control HTTP": 8000,
        "control gRPC": 8001,
        "us HTTP": 8100,
        "us FTP": 8121,
        "us SFTP": 8122,
        "us FTPS": 8190,
        "us metrics": 8180,
        "us metrics 1": 8181,
        "fr HTTP": 8200,
        "fr FTP": 8221,
        "fr SFTP": 8222,
        "fr FTPS": 8290,
        "fr metrics": 8280,
        "fr metrics 1": 8281,
        "sg HTTP": 8300,
        "sg FTP": 8321,
        "sg SFTP": 8322,
        "sg FTPS": 8390,
        "sg metrics": 8380,
        "sg metrics 1": 8381,
    }


workers = st.integers(1, INGEST_WORKERS_MAX)


@given(bases, some_regions, workers)
def test_no_two_doors_share_a_port_and_each_is_one(
    base: int, regions: list[Region], count: int
) -> None:
    table = ports.table(base, regions, count)
    numbers = [port.number for port in table]
    assert len(set(numbers)) == len(numbers) == 2 + (4 + 2 * count) * len(regions)
    assert all(0 < number < 65_536 for number in numbers)
    assert len({port.role for port in table}) == len(table)


@pytest.mark.reaches("PORT_BASE_MAX")
def test_the_highest_base_leaves_room_for_every_passive_range_of_the_contract() -> None:
    # Passive ranges begin 2,000 ports after one another; one worker takes 1,000, more share all.
    ranges = [ports.region(PORT_BASE_MAX, where, 4).passive for where in Region]
    assert [each.start for each in ranges] == [PORT_BASE_MAX + 2_000 * n for n in (1, 2, 3)]
    assert {len(each) for each in ranges} == {2_000}
    assert len(ports.region(8000, Region.US, 1).passive) == 1_000
    assert max(each.stop for each in ranges) < 65_536
    with pytest.raises(AssertionError):
        ports.control(PORT_BASE_MAX + 1)
