"""The servers of the FTP bench: ours as users start it, and peers that are unpacked and started.

The rule: Debian's daemons conflict with each other as packages, so they are unpacked into a cache
folder and started from there, as they come but for what lets one account upload.
"""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ops.bench.peers import (
    BenchFailed,
    ended,
    fetched,
    free_port,
    listens,
    start_system,
    started,
    until,
)
from ops.bench.report import OURS

VSFTPD: Final = "vsftpd"
PROFTPD: Final = "proftpd"
PUREFTPD: Final = "pure-ftpd"
PYFTPDLIB: Final = "pyftpdlib"
AIOFTP: Final = "stock aioftp"
AIOFTP_256: Final = "stock aioftp, 256 KiB blocks"

_PYFTPDLIB: Final = ("pyftpdlib==2.2.0", "pyopenssl==26.4.0")
_USER: Final = "bench"
_PASSWORD: Final = "bench"  # noqa: S105 - of servers on loopback that live for the bench
_PYFTPDLIB_SERVER: Final = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import TLS_FTPHandler
from pyftpdlib.log import config_logging
from pyftpdlib.servers import FTPServer
folder, port, user, password, certificate, key, _ = sys.argv[1:]
config_logging(level="ERROR")
TLS_FTPHandler.authorizer = DummyAuthorizer()
TLS_FTPHandler.authorizer.add_user(user, password, folder, perm="elradfmwMT")
TLS_FTPHandler.certfile, TLS_FTPHandler.keyfile = certificate, key
server = FTPServer(("127.0.0.1", int(port)), TLS_FTPHandler)
server.max_cons = 20_000
server.serve_forever()
"""
_AIOFTP_SERVER: Final = """
import asyncio, sys, aioftp
folder, port, user, password, _, _, block = sys.argv[1:]
more = {"block_size": int(block)} if int(block) else {}
users = [aioftp.User(user, password, base_path=folder, home_path="/")]
asyncio.run(aioftp.Server(users, **more).run("127.0.0.1", int(port)))
"""
_VSFTPD: Final = """
listen=YES
listen_port={port}
listen_address=127.0.0.1
background=NO
run_as_launching_user=YES
seccomp_sandbox=NO
secure_chroot_dir={folder}/empty
anonymous_enable=YES
ftp_username=root
no_anon_password=YES
anon_root={folder}/kept
allow_writeable_chroot=YES
write_enable=YES
anon_upload_enable=YES
anon_other_write_enable=YES
anon_max_rate=0
max_clients=0
max_per_ip=0
xferlog_enable=NO
ssl_enable=YES
allow_anon_ssl=YES
force_local_data_ssl=NO
force_local_logins_ssl=NO
require_ssl_reuse=NO
ssl_ciphers=HIGH
rsa_cert_file={certificate}
rsa_private_key_file={key}
"""
_PROFTPD: Final = """
ServerType standalone
DefaultAddress 127.0.0.1
SocketBindTight on
Port {port}
ModulePath {modules}
LoadModule mod_tls.c
User {user}
Group {group}
PidFile {folder}/pid
ScoreboardFile {folder}/board
DelayTable none
AuthOrder mod_auth_unix.c
UseReverseDNS off
TransferLog none
WtmpLog off
SystemLog {folder}/log
RootLogin on
RequireValidShell off
MaxInstances none
TLSEngine on
TLSRequired off
TLSOptions NoSessionReuseRequired
TLSRSACertificateFile {certificate}
TLSRSACertificateKeyFile {key}
TLSLog {folder}/tls.log
<Anonymous {folder}/kept>
  User {user}
  Group {group}
  UserAlias anonymous {user}
  AnonRequirePassword off
  AllowOverwrite on
  RequireValidShell off
  <Limit ALL>
    AllowAll
  </Limit>
</Anonymous>
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs: who may sign in where.

    *share*, *login_share* and *idle_share* are the parts of loads of many files, of many logins and
    of idle sessions that it gets, because it is slow or forks for each.
    """

    name: str
    port: int
    user: str
    password: str
    pids: tuple[int, ...]
    kept: Path
    has_tls: bool = True
    share: float = 1.0
    login_share: float = 1.0
    idle_share: float = 1.0
    end: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate of the bench's own, and its key, in PEM."""

    certificate: Path
    key: Path


def certificate(folder: Path) -> Certificate:
    """Return a new self-signed RSA certificate for 127.0.0.1 in *folder*."""
    folder.mkdir()
    made = Certificate(folder / "node.crt", folder / "node.key")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    words += ["-keyout", str(made.key), "-out", str(made.certificate)]
    done = subprocess.run(words, capture_output=True, check=False)  # noqa: S603 - ours
    if done.returncode:
        raise BenchFailed("openssl made no certificate: apt-get install openssl")
    made.key.chmod(0o600)
    return made


def start_ours(folder: Path, tls: Certificate) -> Server:
    """Start the whole system as users do, with one region."""
    ours = start_system(
        folder,
        ZT_EDGE_TLS__CERTIFICATE_FILE=str(tls.certificate),
        ZT_EDGE_TLS__KEY_FILE=str(tls.key),
    )
    address = ours.edge["ftp"]
    assert address is not None, "every node has this door"
    port = int(address.rsplit(":", 1)[1])
    user, password = ours.account["ftp_user"], ours.account["ftp_password"]
    kept = folder / "us" / "sink" / "none"
    return Server(OURS, port, user, password, (ours.door,), kept, end=ours.end)


def start_vsftpd(cache: Path, folder: Path, tls: Certificate) -> Server:
    """Start vsftpd: a process, or two, for each session."""
    program = _unpacked(cache, VSFTPD) / "usr" / "sbin" / "vsftpd"
    _must_be_root(VSFTPD)
    (folder / "empty").mkdir(parents=True)
    port = free_port()
    config = folder / "vsftpd.conf"
    config.write_text(_VSFTPD.format(port=port, folder=folder, **_of(tls)), encoding="utf-8")
    words: list[str | Path] = [program, config]
    return _anonymous(VSFTPD, port, words, cache, folder)


def start_proftpd(cache: Path, folder: Path, tls: Certificate) -> Server:
    """Start proftpd: a process for each session."""
    root = _unpacked(cache, "proftpd-core")
    modules = _unpacked(cache, "proftpd-mod-crypto") / "usr" / "lib" / "proftpd"
    _must_be_root(PROFTPD)
    port = free_port()
    text = _PROFTPD.format(
        port=port, folder=folder, modules=modules, user="root", group="root", **_of(tls)
    )
    folder.mkdir(parents=True)
    config = folder / "proftpd.conf"
    config.write_text(text, encoding="utf-8")
    words: list[str | Path] = [root / "usr" / "sbin" / "proftpd", "-n", "-q", "-c", config]
    return _anonymous(PROFTPD, port, words, cache, folder)


def start_pureftpd(cache: Path, folder: Path, tls: Certificate) -> Server:
    """Start pure-ftpd: a process for each session; its user is nobody."""
    root = _unpacked(cache, PUREFTPD)
    _must_be_root(PUREFTPD)
    kept = folder / "kept"
    kept.mkdir(parents=True)
    for each in (kept, *kept.parents):
        if each == Path("/tmp"):  # noqa: S108 - the machine's own, of all
            break
        each.chmod(0o755)
    shutil.chown(kept, "nobody", "nogroup")
    users, database, port = folder / "users", folder / "users.pdb", free_port()
    pem = folder / "both.pem"
    pem.write_bytes(tls.key.read_bytes() + tls.certificate.read_bytes())
    # Its own hash of a password takes a second of CPU, which is no part of a transfer.
    hashed = subprocess.run(  # noqa: S603 - the machine's own
        ["openssl", "passwd", "-1", _PASSWORD],  # noqa: S607 - found by its name
        capture_output=True,
        check=True,
    ).stdout.decode()
    nobody = pwd.getpwnam("nobody")
    account = f"{_USER}:{hashed.strip()}:{nobody.pw_uid}:{nobody.pw_gid}::{kept}/./"
    users.write_text(account + ":" * 12 + "\n", encoding="utf-8")
    made = subprocess.run(  # noqa: S603 - its own program
        [root / "usr" / "bin" / "pure-pw", "mkdb", database, "-f", users],
        capture_output=True,
        env=_libraries(cache),
        check=False,
    )
    if made.returncode:
        raise BenchFailed(f"pure-pw made no user: {made.stderr.decode(errors='replace')}")
    words: list[str | Path] = [root / "usr" / "sbin" / "pure-ftpd", "-S", f"127.0.0.1,{port}"]
    words += ["-l", f"puredb:{database}", "-H", "-E", "-c", "20000", "-C", "20000", "-k", "100"]
    words += ["-u", "1", "-Y", "1", "-2", pem, "-g", folder / "pid", "-p", "42000:52000"]
    program = started(words, folder / "log", **_libraries(cache))
    until(lambda: listens(port), "pure-ftpd listens", program)
    return Server(
        *(PUREFTPD, port, _USER, _PASSWORD, (program.pid,), kept),
        idle_share=0.05,
        end=lambda: ended(program),
    )


def start_pyftpdlib(cache: Path, folder: Path, tls: Certificate) -> Server:
    """Start pyftpdlib in an environment of its own."""
    home = cache / "pyftpdlib"
    if not (home / "made").exists():
        cache.mkdir(parents=True, exist_ok=True)
        fetched([sys.executable, "-m", "venv", str(home)], cache)
        fetched([str(home / "bin" / "pip"), "install", "-q", *_PYFTPDLIB], cache)
        (home / "made").touch()
    return _script(PYFTPDLIB, home / "bin" / "python", folder, tls)


def start_aioftp(folder: Path, tls: Certificate, block_bytes: int) -> Server:
    """Start aioftp's own server, which has no explicit TLS."""
    name = AIOFTP if block_bytes == 0 else AIOFTP_256
    return _script(name, Path(sys.executable), folder, tls, block_bytes)


def _script(
    name: str, python: Path, folder: Path, tls: Certificate, block_bytes: int = 0
) -> Server:
    kept, port = folder / "kept", free_port()
    kept.mkdir(parents=True)
    is_slow = name != PYFTPDLIB
    words: list[str | Path] = [python, "-c", _AIOFTP_SERVER if is_slow else _PYFTPDLIB_SERVER]
    words += [kept, str(port), _USER, _PASSWORD, tls.certificate, tls.key, str(block_bytes)]
    program = started(words, folder / "log")
    until(lambda: listens(port), f"{name} listens", program)
    return Server(
        *(name, port, _USER, _PASSWORD, (program.pid,), kept),
        has_tls=not is_slow,
        share=0.25 if is_slow else 1.0,
        end=lambda: ended(program),
    )


def _anonymous(name: str, port: int, words: list[str | Path], cache: Path, folder: Path) -> Server:
    kept = folder / "kept"
    kept.mkdir(parents=True, exist_ok=True)
    program = started(words, folder / "said", **_libraries(cache))
    until(lambda: listens(port), f"{name} listens", program)
    return Server(
        *(name, port, "anonymous", "bench@", (program.pid,), kept),
        login_share=0.1 if name == PROFTPD else 1.0,
        idle_share=0.05,
        end=lambda: ended(program),
    )


def _of(tls: Certificate) -> dict[str, Path]:
    return {"certificate": tls.certificate, "key": tls.key}


def _must_be_root(name: str) -> None:
    if os.getuid():
        raise BenchFailed(f"{name} changes its user: run this as root, or leave it out (--without)")


def _unpacked(cache: Path, package: str) -> Path:
    """Return where *package* lies unpacked, with the libraries that this machine lacks."""
    target = cache / package
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        archive = _archive(cache, package)
        _unpack_libraries(cache, archive)
        fetched(["dpkg-deb", "-x", str(archive), str(target)], cache)
    return target


def _unpack_libraries(cache: Path, archive: Path) -> None:
    """Unpack what *archive* needs, and what that needs, as far as this machine lacks it."""
    asked = ["dpkg-deb", "-f", str(archive), "Depends"]
    said = subprocess.run(asked, capture_output=True, check=True).stdout.decode()  # noqa: S603
    needed = {each.split()[0] for each in said.replace("|", ",").split(",") if each.strip()}
    for library in sorted(each for each in needed if each.startswith("lib")):
        folder = cache / "libraries" / library
        if not folder.exists() and not _is_installed(library):
            folder.mkdir(parents=True)
            found = _archive(cache, library)
            fetched(["dpkg-deb", "-x", str(found), str(folder)], cache)
            _unpack_libraries(cache, found)


def _archive(cache: Path, package: str) -> Path:
    fetched(["apt-get", "download", "-q", package], cache)
    return max(cache.glob(f"{package}_*.deb"), key=lambda path: path.stat().st_mtime)


def _is_installed(package: str) -> bool:
    words = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    done = subprocess.run(words, capture_output=True, check=False)  # noqa: S603 - the machine's own
    return done.stdout == b"installed"


def _libraries(cache: Path) -> dict[str, str]:
    folders = sorted((cache / "libraries").glob("*/usr/lib/*-linux-*"))
    folders += sorted((cache / "libraries").glob("*/lib/*-linux-*"))
    return {"LD_LIBRARY_PATH": ":".join(map(str, folders))}
