"""TLS as a camera begins it: what is agreed, and the certificate, whether it is good or not."""

import ssl
from pathlib import Path
from typing import Final

from ops.doctor import certificate
from ops.doctor.line import Line
from ops.doctor.seen import Certificate, Lost, Secured

# What the makers of cameras list for TLS 1.2: AEAD and CBC with AES, by ECDHE, DHE and RSA.
_OLD_SUITES: Final = "ECDHE+AESGCM:DHE+AESGCM:AESGCM:ECDHE+AES:DHE+AES:AES:!aNULL:!PSK:!SRP"


class Resuming(ssl.SSLContext):
    """A context that goes on with ``resumed``, once that is set: as a camera's data connections."""

    resumed: ssl.SSLSession | None = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Return one end of a connection."""
        resumed = session or self.resumed
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, resumed)


def _context() -> Resuming:
    made = Resuming(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    return made


def contexts(ca_file: Path | None) -> tuple[Resuming, Resuming]:
    """Return a context that checks the chain and one that checks nothing; raises ``OSError``.

    Names are compared elsewhere, so that a wrong one is told beside whatever else is wrong.
    """
    checking = _context()
    checking.load_default_certs()
    if ca_file is not None:
        checking.load_verify_locations(ca_file)
    blind = _context()
    blind.verify_mode = ssl.CERT_NONE
    return checking, blind


def old_body() -> ssl.SSLContext:
    """Return a context that knows what a camera with TLS 1.2 knows, and checks nothing."""
    narrow = _context()
    narrow.verify_mode = ssl.CERT_NONE
    narrow.minimum_version = narrow.maximum_version = ssl.TLSVersion.TLSv1_2
    narrow.set_ciphers(_OLD_SUITES)
    return narrow


async def secured(line: Line, context: ssl.SSLContext, name: str) -> Secured:
    """Begin TLS on *line* for the server *name*; returns what was agreed, or what went wrong."""
    try:
        await line.secure(context, name)
    except ssl.SSLCertVerificationError as refused:
        return Secured(verify_code=refused.verify_code, lost=Lost.CLOSED)
    except TimeoutError:
        return Secured(lost=Lost.SILENT)
    except ssl.SSLError as failed:
        return Secured(lost=Lost.GARBLED, alert=(failed.reason or "").lower().replace("_", " "))
    except OSError:
        return Secured(lost=Lost.CLOSED)
    tls = line.tls
    assert tls is not None, "TLS stands"
    suite = tls.cipher()
    return Secured(
        version=tls.version() or "",
        suite=suite[0] if suite else "",
        certificate=_certificate(tls),
        is_resumed=bool(tls.session_reused),
    )


def _certificate(tls: ssl.SSLObject) -> Certificate | None:
    der = tls.getpeercert(binary_form=True)
    if der is None:
        return None
    try:
        return certificate.parsed(der)
    except ValueError:
        return None
