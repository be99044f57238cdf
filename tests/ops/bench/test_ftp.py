from pathlib import Path

import pytest

from ops.bench import ftp, ftp_peers
from ops.bench.ftp import IDLE, LOADS, LOGIN, MIDDLE, Load
from ops.bench.ftp_peers import Server
from ops.bench.report import MEASURES, OURS

PEERS = {
    *(ftp_peers.VSFTPD, ftp_peers.PROFTPD, ftp_peers.PUREFTPD, ftp_peers.PYFTPDLIB),
    *(ftp_peers.AIOFTP, ftp_peers.AIOFTP_256),
}


def test_every_goal_and_floor_names_a_load_a_measure_and_a_peer() -> None:
    for bound in (*ftp.GOALS, *ftp.FLOORS):
        assert bound.load in {load.name for load in LOADS}
        assert bound.measure in MEASURES
        assert bound.peer is None or bound.peer in PEERS
    floors = {bound.load for bound in ftp.FLOORS}
    assert floors == {load.name for load in LOADS if load.mode != "tls"}


@pytest.mark.parametrize("load", LOADS)
def test_a_quick_look_is_a_smaller_load_of_the_same_kind(load: Load) -> None:
    small = load.scaled(0.02)
    assert (small.name, small.mode) == (load.name, load.mode)
    assert small.count * small.size <= load.count * load.size
    assert 1 <= small.connections <= small.count
    assert load.scaled(1.0) == load


def test_a_slow_server_gets_its_part_of_a_load() -> None:
    slow = Server(
        *("x", 1, "u", "p", (), Path("kept")), share=0.1, login_share=0.01, idle_share=0.05
    )
    assert MIDDLE.of(slow).count == 200
    assert LOGIN.of(slow).count == 20
    assert IDLE.of(slow).count == 500
    assert IDLE.bounded(4_000).count == 4_000
    assert MIDDLE.bounded(1) == MIDDLE
    ours = Server(*(OURS, 1, "u", "p", (), Path("kept")))
    assert [load.of(ours) for load in LOADS] == list(LOADS)
