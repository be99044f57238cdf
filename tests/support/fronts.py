"""Real fronts before a listener of ours: HAProxy and Caddy, each in a folder of its own."""

import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port, free_ports
from tests.support.programs import as_in_service
from tests.support.waiting import until

_HAPROXY = """\
global
    maxconn 200
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    {options}
frontend clear
    bind 127.0.0.1:{clear}
    default_backend node
frontend tls
    bind 127.0.0.1:{tls} ssl crt {folder}/both.pem alpn h2,http/1.1
    {tls_options}
    default_backend node
backend node
    server node 127.0.0.1:{port} {send}
"""
_PROXY = {"options": "", "tls_options": "", "send": "send-proxy-v2-ssl"}
_HEADERS = {
    "options": "option forwardfor",
    "tls_options": "http-request set-header X-Forwarded-Proto https",
    "send": "",
}
_CADDY = """\
{{
    admin off
    auto_https off
    storage file_system {folder}/caddy
}}
https://localhost:{tls} {{
    bind 127.0.0.1
    tls {folder}/tls/node.crt {folder}/tls/node.key
    reverse_proxy 127.0.0.1:{port}
}}
"""


@contextmanager
def haproxy(folder: Path, port: int, *, proxy: bool) -> Generator[tuple[int, int]]:
    """Run HAProxy before *port*; gives its ports for clear text and TLS.

    *folder* holds tls/node.crt and tls/node.key; *proxy* sends the PROXY protocol, else headers.
    """
    clear, tls = free_ports(2)
    both = (folder / "tls" / "node.crt").read_text() + (folder / "tls" / "node.key").read_text()
    (folder / "both.pem").write_text(both)
    words = _PROXY if proxy else _HEADERS
    config = folder / "haproxy.cfg"
    config.write_text(_HAPROXY.format(folder=folder, clear=clear, tls=tls, port=port, **words))
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert program, "HAProxy is missing: apt-get install haproxy"
    with _running([program, "-db", "-f", str(config)], tls, folder):
        yield clear, tls


@contextmanager
def caddy(folder: Path, port: int) -> Generator[int]:
    """Run Caddy with TLS before *port*; gives its port.  *folder* as of :func:`haproxy`."""
    tls = free_port()
    config = folder / "Caddyfile"
    config.write_text(_CADDY.format(folder=folder, tls=tls, port=port))
    command = ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
    with _running(command, tls, folder):
        yield tls


@contextmanager
def _running(command: list[str], port: int, folder: Path) -> Generator[None]:
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "front.log").open("wb") as log:
        front = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**as_in_service(), **home},
        )
    try:
        until(lambda: front.poll() is not None or _answers(port), "the front listens")
        assert front.poll() is None, (folder / "front.log").read_text()
        yield
    finally:
        front.kill()
        front.wait()


def _answers(port: int) -> bool:
    asked = ["curl", "-sk", "-o", "/dev/null", "--max-time", "2", f"https://localhost:{port}/"]
    return subprocess.run(asked, check=False).returncode == 0
