import subprocess
import sys
from socket import create_connection, create_server, socket, socketpair

import pytest

from tests.support.inheriting import inheriting

pytestmark = pytest.mark.peer

PROGRAM = """
import sys
from zentransfer.listeners import inherited
from zentransfer.service import starting, taken_variable
with starting("test"):
    given = inherited(("http", "ftp"))
    assert not taken_variable("LISTEN_FDS")
    has = given.has("http"), given.has("ftp")
    taken = given.take("http", "127.0.0.1", 0, "HTTP")
    given.close()
    print(*has, taken.getsockname()[1], taken.getblocking(), taken.get_inheritable(), flush=True)
    if has[0]:
        connection, _ = taken.accept()
        connection.sendall(b"served")
"""


def run(*passed: socket, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program that is given *passed* from descriptor 3 on."""
    command = [sys.executable, "-c", PROGRAM]
    pipe = subprocess.PIPE
    with inheriting(command, *passed, stdout=pipe, stderr=pipe, **variables) as process:
        out, said = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, out.decode(), said.decode())


def test_a_socket_is_inherited_by_its_name_and_what_waits_in_it_is_served() -> None:
    with create_server(("127.0.0.1", 0)) as door, create_server(("127.0.0.1", 0)) as other:
        with create_connection(door.getsockname()) as client:  # before anybody serves
            done = run(other, door, LISTEN_FDS="2", LISTEN_FDNAMES="ftp:http")
            assert client.recv(100) == b"served", done.stderr
        port = door.getsockname()[1]
    assert done.stdout.split() == ["True", "True", str(port), "False", "False"]


def test_without_any_it_listens_itself() -> None:
    done = run()
    assert done.stdout.split()[:2] == ["False", "False"], done.stderr
    assert int(done.stdout.split()[2]) > 0


def test_what_is_meant_for_another_process_is_not_taken() -> None:
    with create_server(("127.0.0.1", 0)) as door:
        done = run(door, LISTEN_FDS="1", LISTEN_FDNAMES="http", LISTEN_PID="1")
    assert done.stdout.split()[:2] == ["False", "False"], done.stderr


@pytest.mark.parametrize(
    ("count", "names", "said"),
    [
        ("1", "", "do not name the same sockets"),
        ("2", "http", "do not name the same sockets"),
        ("x", "http", "do not name the same sockets"),
        ("1", "edge.socket", "Known are http, ftp"),
        ("2", "http:http", "once"),
        ("3", "http:ftp:smtp", "known"),
    ],
)
def test_names_that_do_not_fit_are_refused_in_words(count: str, names: str, said: str) -> None:
    with create_server(("127.0.0.1", 0)) as door:
        done = run(door, LISTEN_FDS=count, LISTEN_FDNAMES=names)
    assert done.returncode == 78
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_what_does_not_listen_is_refused() -> None:
    for one, other in [socketpair(), (socket(), socket())]:
        with one, other:
            done = run(one, LISTEN_FDS="1", LISTEN_FDNAMES="http")
        assert done.returncode == 78
        assert "Descriptor 3 (http) is no listening TCP socket" in done.stderr
    done = run(LISTEN_FDS="1", LISTEN_FDNAMES="http")  # nothing is there at all
    assert "Descriptor 3 (http)" in done.stderr
