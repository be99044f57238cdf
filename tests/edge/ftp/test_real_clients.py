"""The clients that people have, against a door on a real port."""

import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest

from tests.support.ftp_door import Door, reset, run

pytestmark = pytest.mark.peer

CONTENT = Random(3).randbytes(3_000_000)
Test = Callable[[Door], Awaitable[None]]


async def done(program: str, *arguments: str | bytes, package: str = "") -> tuple[int, bytes]:
    """Run *program*; return its exit code and all that it said."""
    if shutil.which(program) is None:
        pytest.fail(f"{program} is missing: apt-get install {package or program}")
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said


async def curl(door: Door, path: str, *options: str, ends: int = 0) -> None:
    shown = door.node.customer.shown
    url = f"ftp://{shown.name}:{shown.secret}@127.0.0.1:{door.port}/{path}"
    code, said = await done("curl", "-sS", "--max-time", "20", *options, url)
    assert code == ends, said


async def lftp(door: Door, script: str) -> None:
    shown = door.node.customer.shown
    settings = "set net:max-retries 2; set net:timeout 10; set net:reconnect-interval-base 1;"
    code, said = await done(
        *("lftp", "-u", f"{shown.name},{shown.secret}", "-e"),
        *(f"{settings} {script}; bye", f"ftp://127.0.0.1:{door.port}"),
    )
    assert code == 0, said


async def ftplib(door: Door, script: str, file: Path) -> None:
    shown = door.node.customer.shown
    begin = (
        "import ftplib, sys, io\n"
        "f = ftplib.FTP(timeout=20)\n"
        "f.connect('127.0.0.1', int(sys.argv[1]))\n"
        "f.login(sys.argv[2], sys.argv[3])\n"
    )
    arguments = (str(door.port), shown.name, shown.secret, str(file))
    code, said = await done(sys.executable, "-c", begin + script, *arguments)
    assert code == 0, said


async def stored(door: Door) -> dict[str, bytes]:
    found = await door.committed()
    assert len(found) == len(door.node.outcomes()), "something failed"
    return {"/".join(filter(None, (name.folder, name.name))): body for name, body in found}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)
    return path


def test_curl_uploads_in_its_ways(file: Path) -> None:
    async def test(door: Door) -> None:
        await curl(door, "epsv.bin", "-T", str(file))
        await curl(door, "pasv.bin", "--disable-epsv", "-T", str(file))
        await curl(door, "A/B/deep.bin", "--ftp-create-dirs", "-T", str(file))
        await curl(door, "caf%E9%20x.bin", "-T", str(file))
        names = ["epsv.bin", "pasv.bin", "A/B/deep.bin", "café x.bin"]
        assert await stored(door) == dict.fromkeys(names, CONTENT)

    run(test, uvloop=True)


def test_curl_hears_no_in_a_way_that_it_understands(file: Path) -> None:
    async def test(door: Door) -> None:
        await curl(door, "x", "-P", "-", "-T", str(file), ends=30)  # active mode
        await curl(door, "x", ends=78)  # content is never served back
        await curl(door, "x", "--ssl-reqd", "-T", str(file), ends=64)  # no TLS yet
        await curl(door, "", "-l")
        door.node.customer.shown = type(door.node.customer.shown)(
            door.node.customer.shown.name, "wrong"
        )
        await curl(door, "x", "-T", str(file), ends=67)
        assert await stored(door) == {}

    run(test)


def test_curl_sends_many_files_over_one_connection(tmp_path: Path) -> None:
    async def test(door: Door) -> None:
        shown = door.node.customer.shown
        for number in range(20):
            (tmp_path / f"{number}.jpg").write_bytes(b"%d" % number)
        files = ",".join(str(tmp_path / f"{number}.jpg") for number in range(20))
        code, said = await done(
            *("curl", "-sS", "--max-time", "20", "-T", f"{{{files}}}"),
            f"ftp://{shown.name}:{shown.secret}@127.0.0.1:{door.port}/roll/",
        )
        assert code == 0, said
        assert await stored(door) == {f"roll/{n}.jpg": b"%d" % n for n in range(20)}

    run(test)


@pytest.mark.parametrize("more", ["", "set ftp:ssl-allow no;", "set ftp:prefer-epsv yes;"])
def test_lftp_puts(file: Path, more: str) -> None:
    async def test(door: Door) -> None:
        script = f"{more} put {file} -o b.bin; mkdir -p A/B; cd A/B; put {file}; ls; pwd"
        await lftp(door, script)
        assert await stored(door) == {"b.bin": CONTENT, "A/B/a.bin": CONTENT}

    run(test)


def test_lftp_mirrors_a_folder_over_several_connections(tmp_path: Path) -> None:
    async def test(door: Door) -> None:
        source = tmp_path / "card"
        wanted = dict[str, bytes]()
        for folder in ("100X", "101X"):
            (source / folder).mkdir(parents=True)
            for number in range(6):
                wanted[f"DCIM/{folder}/{number} ü.jpg"] = body = Random(number).randbytes(50_000)
                (source / folder / f"{number} ü.jpg").write_bytes(body)
        await lftp(door, f"mirror -R -P 4 {source} DCIM")
        assert await stored(door) == wanted

    run(test, uvloop=True)


def test_lftp_announces_sizes(file: Path) -> None:
    async def test(door: Door) -> None:
        await lftp(door, f"set ftp:use-allo yes; put {file}")
        assert await stored(door) == {"a.bin": CONTENT}

    run(test)


def test_ftplib_stores_and_looks_back(file: Path) -> None:
    script = """
assert f.storbinary('STOR p.bin', open(sys.argv[4], 'rb')).startswith('226')
assert f.voidcmd('NOOP').startswith('200')
assert f.mkd('A') == '/A' and f.cwd('A') and f.pwd() == '/A'
assert f.storlines('STOR t.txt', io.BytesIO(b'one\\ntwo\\n')).startswith('226')
assert f.nlst() == ['t.txt'] and f.nlst('/') == ['A', 'p.bin']
assert f.size('/p.bin') == 3_000_000 and f.size('t.txt') == 10
assert dict(f.mlsd('/'))['p.bin']['size'] == '3000000'
assert f.rename('t.txt', 'u.txt') and f.delete('u.txt') and f.rmd('/A')
try: f.size('t.txt')
except ftplib.error_perm as e: assert str(e).startswith('550')
f.set_pasv(False)
try: f.storbinary('STOR x', io.BytesIO(b'x'))
except ftplib.error_perm as e: assert str(e) == '502 Use passive mode'
assert f.quit().startswith('221')
"""

    async def test(door: Door) -> None:
        await ftplib(door, script, file)
        assert await stored(door) == {"p.bin": CONTENT, "A/t.txt": b"one\r\ntwo\r\n"}

    run(test)


def test_ftplib_aborts_out_of_band(file: Path) -> None:
    script = """
data = f.transfercmd('STOR cut.bin')
data.sendall(b'x' * 1000)
assert f.abort().startswith('426')
assert f.getresp().startswith('226')
assert f.storbinary('STOR p.bin', open(sys.argv[4], 'rb')).startswith('226')
"""

    async def test(door: Door) -> None:
        await ftplib(door, script, file)
        assert {name.name for name, _ in await door.committed()} == {"p.bin"}
        assert len(door.node.outcomes()) == 2

    run(test)


async def cut(door: Door, name: str, content: bytes) -> None:
    """Send *content* as the beginning of *name*, and vanish."""
    async with door.client() as client, client.data() as data:
        assert isinstance(data, asyncio.StreamWriter)
        assert await client.say(f"STOR {name}") == 150
        data.write(content)
        await data.drain()
        await asyncio.sleep(0.1)
        reset(data)
        assert (await client.heard())[0] == 426


@pytest.mark.parametrize("how", ["curl", "curl --append", "lftp"])
def test_real_clients_go_on_with_what_was_cut(file: Path, tmp_path: Path, how: str) -> None:
    async def test(door: Door) -> None:
        await cut(door, "a.bin", CONTENT[:1_000_000])
        if how == "curl":
            await curl(door, "a.bin", "-C", "-", "-T", str(file))
        elif how == "lftp":
            await lftp(door, f"put -c {file} -o a.bin")
        else:
            async with door.client() as client:
                await client.send("SIZE a.bin")
                held = int((await client.heard())[1])
            rest = tmp_path / "rest.bin"
            rest.write_bytes(CONTENT[held:])
            await curl(door, "a.bin", "--append", "-T", str(rest))
        assert await stored(door) == {"a.bin": CONTENT}
        (outcome,) = door.node.outcomes()
        assert outcome.size_bytes == len(CONTENT), "it was gone on with, not sent anew"

    run(test, uvloop=True)


def test_curl_looks_back_at_what_it_sent(file: Path) -> None:
    async def test(door: Door) -> None:
        await curl(door, "A/b%20c.bin", "--ftp-create-dirs", "-T", str(file))
        shown = door.node.customer.shown
        url = f"ftp://{shown.name}:{shown.secret}@127.0.0.1:{door.port}"
        code, said = await done("curl", "-sS", "-I", "--max-time", "20", f"{url}/A/b%20c.bin")
        assert code == 0, said
        assert f"Content-Length: {len(CONTENT)}".encode() in said
        code, said = await done("curl", "-sS", "-l", "--max-time", "20", f"{url}/A/")
        assert (code, said.split(b"\n")) == (0, [b"b c.bin", b""])

    run(test)


def test_lftp_uploads_under_a_temporary_name_and_renames(file: Path) -> None:
    async def test(door: Door) -> None:
        await lftp(door, f"set xfer:use-temp-file yes; put {file} -o a.bin; ls; cls -l")
        assert await stored(door) == {"a.bin": CONTENT}
        (outcome,) = door.node.outcomes()
        record = (await door.node.sink.record(outcome.upload_id)).value
        assert not door.node.intake.tools.settling.open(record).is_held

    run(test)
