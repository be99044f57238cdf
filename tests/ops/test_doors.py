from contextlib import closing
from socket import create_connection, create_server, socket

import pytest

from ops.doors import Doors
from ops.ports import Port
from ops.programs import Leaves, Program
from tests.support.ports import free_port, free_ports
from zentransfer.service import CannotStart


def program(name: str, **listeners: int) -> Program:
    ports = {key: Port(f"test {key}", number) for key, number in listeners.items()}
    return Program(name, ("true",), Leaves.FIRST, "ZT_TEST_", None, ports)


def test_workers_of_a_door_are_given_the_same_socket_and_nobody_else_is() -> None:
    http, ftp = free_ports(2)
    one, other = program("a", http=http, ftp=ftp), program("b", http=http)
    with closing(Doors()) as doors:
        doors.open([one, other, program("c")])
        assert doors.of(one)["http"] == doors.of(other)["http"]
        assert set(doors.of(one)) == {"http", "ftp"}
        assert doors.of(program("c")) == {}
        with socket(fileno=doors.of(one)["ftp"]) as found:
            assert found.getsockname()[1] == ftp
            found.detach()


def test_after_the_end_a_connection_is_refused_at_once() -> None:
    http = free_port()
    doors = Doors()
    doors.open([program("a", http=http)])
    create_connection(("127.0.0.1", http)).close()
    doors.close()
    doors.close()
    with pytest.raises(ConnectionRefusedError):
        create_connection(("127.0.0.1", http))
    assert doors.of(program("a", http=http)) == {}


def test_a_taken_door_is_named() -> None:
    with create_server(("127.0.0.1", 0)) as taken, closing(Doors()) as doors:
        mine = program("a", http=taken.getsockname()[1])
        with pytest.raises(CannotStart, match="test http"):
            doors.open([mine])
