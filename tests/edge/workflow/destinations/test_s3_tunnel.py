"""The library over TLS: a tunnel through the guard's proxy, and no way around it."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from obstore.exceptions import GenericError
from obstore.store import S3Store

from edge.guard import Policy
from edge.guard_proxy import Proxy
from tests.edge.test_guard_proxy import LAB, serving
from tests.support.real_loop import real_loop
from zentransfer.health import http_runner, listen

pytestmark = pytest.mark.peer

HOST = "s3.example.com"  # nobody's: what it resolves to is for the guard alone


def signed(
    name: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, *, is_root: bool
) -> x509.Certificate:
    """Return the certificate of *name*, whose *key* it is, signed *by* the root."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    begins = datetime(2026, 1, 1, tzinfo=UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .sign(by, hashes.SHA256())
    )


def certificate(folder: Path) -> tuple[ssl.SSLContext, str]:
    """Return a server's context for HOST, and the certificate that is to be trusted."""
    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    leaf = signed(HOST, key, root, is_root=False).public_bytes(pem)
    (folder / "server.pem").write_bytes(private + leaf)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context, signed("root", root, root, is_root=True).public_bytes(pem).decode()


@asynccontextmanager
async def over_tls(folder: Path, seen: list[str]) -> AsyncGenerator[tuple[int, str], None]:
    """Yield the port of a server that takes anything, and its certificate."""

    async def take(request: web.Request) -> web.StreamResponse:
        seen.append(f"{request.method} {request.host} {len(await request.read())}")
        return web.Response(headers={"ETag": '"x"'})

    context, pem = certificate(folder)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    runner = http_runner(app)
    await runner.setup()
    listener = listen("127.0.0.1", 0, "a server")
    await web.SockSite(runner, listener, ssl_context=context).start()
    try:
        yield listener.getsockname()[1], pem
    finally:
        await runner.cleanup()


async def put(proxy: Proxy, port: int, pem: str) -> None:
    store = S3Store(
        "desk",
        endpoint=f"https://{HOST}:{port}",
        region="auto",
        access_key_id="id",
        secret_access_key="key",
        client_options={
            "proxy_url": await proxy.url(HOST, port),
            "root_certificate": pem,
            "timeout": timedelta(seconds=10),
        },
        retry_config={"max_retries": 0},
    )
    await obstore.put_async(store, "a", b"content", mode="create")


@pytest.mark.parametrize("excluded", ["", HOST, "*"])
def test_a_secure_server_is_reached_by_a_tunnel_and_in_no_other_way(
    excluded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", excluded)  # what an operator's shell may have
    seen: list[str] = []

    async def run() -> None:
        async with over_tls(tmp_path, seen) as (port, pem):
            async with serving(LAB) as proxy:
                await put(proxy, port, pem)
            assert seen == [f"PUT {HOST}:{port} 7"]
            async with serving(Policy(ports=(port,))) as proxy:
                with pytest.raises(GenericError):
                    await put(proxy, port, pem)
            assert len(seen) == 1, "the guard said no, and nothing else was tried"
            await asyncio.sleep(0)

    real_loop(run())
