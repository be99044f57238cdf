"""What the doctor says of encryption: offer, certificate, an old body's view, clocks.  Pure.

The rule: a password is sent only where nobody on the way can read it, unless its owner says so.
"""

from typing import Final

from ops.doctor.certificate import is_for
from ops.doctor.seen import Certificate, Mode, Said, Secured, Seen
from ops.doctor.steps import Step, look, right, untried, wrong

SKEW_MAX_MS: Final = 5 * 60_000
SOON_MS: Final = 14 * 24 * 3_600_000
_DAY_MS: Final = 24 * 3_600_000
_OFFERED: Final = 234
_MODERN: Final = frozenset({"TLSv1.2", "TLSv1.3"})

# OpenSSL's X509_V_ERR_*, as far as a server's owner can do something about them.
_EXPIRED, _NOT_YET = 10, 9
_SELF_SIGNED: Final = frozenset({18, 19})
_NO_ISSUER: Final = frozenset({20, 21})
_OTHER_NAME: Final = frozenset({62, 64})

SERVERS_CHAIN: Final = (
    "The server's owner must send the whole chain (the certificate and those between it and the "
    "root, in one file). If the root is a private one, import it into the camera."
)


def security(seen: Seen) -> list[Step]:
    """Return the steps about TLS; none where the server was not reached."""
    if seen.reached is None:
        return []
    offer = _offer(seen)
    if seen.tls is None:
        return offer
    if seen.tls.lost is not None:
        return [*offer, _no_handshake(seen.tls)]
    found = seen.tls.certificate
    told = (
        [] if found is None else [_chain(seen.tls, found), _name(seen, found), _time(seen, found)]
    )
    return [*offer, _protocol(seen.tls), *told, *_old_body(seen), *_protection(seen)]


def clocks(seen: Seen) -> list[Step]:
    """Return what is known of the two clocks; none if nothing is."""
    if seen.server_ms is None:
        return []
    apart_ms = seen.server_ms - seen.now_ms
    if abs(apart_ms) <= SKEW_MAX_MS:
        return [right("clock", "The clock of this computer and the server's agree.")]
    way = "behind" if apart_ms > 0 else "ahead of"
    return [
        look(
            "clock",
            f"The clock of this computer is {_span(abs(apart_ms))} {way} the server's.",
            "Set the clock of this computer, and look at the camera's too (date, time and zone): "
            "with a wrong one a certificate seems expired or not yet valid.",
        )
    ]


def is_trusted(tls: Secured, host: str, now_ms: int) -> bool:
    """Say whether nobody between us and *host* can be the one who speaks."""
    found = tls.certificate
    return (
        tls.lost is None
        and found is not None
        and tls.verify_code == 0
        and is_for(found.names, host)
        and found.not_before_ms <= now_ms < found.not_after_ms
    )


def _offer(seen: Seen) -> list[Step]:
    if seen.wanted.is_implicit:
        return []  # the handshake says it
    if seen.wanted.mode is Mode.NONE:
        cure = "Set the camera to FTPS (explicit) if it can, and call without --tls none."
        return [look("encryption", "You asked for FTP without encryption.", cure)]
    if seen.auth is None:
        return []
    if isinstance(seen.auth, Said) and seen.auth.code == _OFFERED:
        return [right("encryption", "The server offers TLS (AUTH TLS).")]
    said = f"The server offers no TLS: AUTH TLS was answered {_heard(seen)}."
    if seen.wanted.mode is Mode.EXPLICIT:
        cure = "Set the camera to FTP without encryption, or ask the server's owner for FTPS."
        return [wrong("encryption", said, cure)]
    cure = "Whoever is on the same network can read the files and the password on their way."
    return [look("encryption", said, cure)]


def _heard(seen: Seen) -> str:
    return f"{seen.auth.code}" if isinstance(seen.auth, Said) else "by nothing"


def _no_handshake(tls: Secured) -> Step:
    why = f" ({tls.alert})" if tls.alert else ""
    return wrong(
        "encryption",
        f"The TLS handshake failed{why}.",
        "Implicit TLS is usual on port 990, explicit TLS on port 21: try the other mode. If that "
        "is right already, something between here and the server changes what passes.",
    )


def _protocol(tls: Secured) -> Step:
    said = f"{tls.version} with {tls.suite}."
    if tls.version in _MODERN:
        return right("protocol", said)
    return look("protocol", said, "This is no longer safe; the server should speak TLS 1.2 or 1.3.")


def _chain(tls: Secured, found: Certificate) -> Step:
    code, name = tls.verify_code, "certificate"
    if code in {_EXPIRED, _NOT_YET} or code in _OTHER_NAME or code == 0:
        return right(name, f"Issued by {found.issuer}, {found.key}, {_whose(code)}.")
    if code in _SELF_SIGNED or found.is_self_signed:
        return wrong(
            name,
            "The certificate, or the root that the server sends, is known to nobody.",
            "Import it into the camera, or allow the camera to connect in spite of a root "
            "certificate error; the server's owner can get one from a public authority.",
        )
    if code in _NO_ISSUER:
        return wrong(name, "The chain of certificates is not complete, or its root is unknown.",
                     SERVERS_CHAIN)  # fmt: skip
    return wrong(name, f"The certificate is refused (OpenSSL's number {code}).", SERVERS_CHAIN)


def _whose(code: int) -> str:
    return "with a chain to a root that is known here" if code == 0 else "see below what is wrong"


def _name(seen: Seen, found: Certificate) -> Step:
    host = seen.wanted.host
    if is_for(found.names, host):
        return right("name", f"The certificate is for {host}.")
    names = ", ".join(found.names[:4]) or "no name at all"
    return wrong(
        "name",
        f"The certificate is not for {host}; it names {names}.",
        "Type the server's name into the camera exactly as the certificate has it, not its address "
        "and not another name for it.",
    )


def _time(seen: Seen, found: Certificate) -> Step:
    now_ms, name = seen.now_ms, "validity"
    if now_ms < found.not_before_ms:
        return wrong(
            name,
            f"The certificate is not yet valid, by this computer's clock: {_ahead(seen, found)}.",
            "Set the clock of this computer; set the camera's date, time and zone.",
        )
    if now_ms >= found.not_after_ms:
        return wrong(
            name,
            f"The certificate ended {_span(now_ms - found.not_after_ms)} ago.",
            "The server's owner must renew it. If your own clock is wrong, set that.",
        )
    left_ms = found.not_after_ms - now_ms
    if left_ms < SOON_MS:
        return look(name, f"The certificate ends in {_span(left_ms)}.", "Have it renewed now.")
    return right(name, f"The certificate is good for {_span(left_ms)} more.")


def _ahead(seen: Seen, found: Certificate) -> str:
    return f"it begins in {_span(found.not_before_ms - seen.now_ms)}"


def _old_body(seen: Seen) -> list[Step]:
    if seen.old_body is None:
        return []
    if seen.old_body.lost is None:
        said = f"A camera that knows only TLS 1.2 connects too, with {seen.old_body.suite}."
        return [right("older cameras", said)]
    return [
        look(
            "older cameras",
            "A camera that knows only TLS 1.2 and its usual suites is refused.",
            "The server's owner should allow TLS 1.2 with ECDHE and AES-GCM.",
        )
    ]


def _protection(seen: Seen) -> list[Step]:
    match seen.protected:
        case None:
            return []
        case Said(code=code) if 200 <= code < 300:  # noqa: PLR2004 - RFC 959, 4.2.1
            return [right("data", "Files travel encrypted too (PROT P).")]
        case _:
            return [
                look(
                    "data",
                    "The server does not encrypt data connections (PROT P is refused).",
                    "Files pass in clear although the password does not; ask the server's owner.",
                )
            ]


def withheld(seen: Seen) -> list[Step]:
    """Return why the password was not sent, if it was not."""
    if not seen.password_withheld:
        return []
    if seen.tls is None:
        said = "The password was not sent, because it would travel in clear."
        return [untried("sign-in", said, "Say --tls none if that is what the camera will do.")]
    said = "The password was not sent, because the certificate is wrong and anybody may read it."
    cure = "Say --insecure to try as a camera does whose certificate check is off."
    return [untried("sign-in", said, cure)]


def _span(milliseconds: int) -> str:
    days, hours = milliseconds // _DAY_MS, milliseconds // 3_600_000
    if days > 1:
        return f"{days} days"
    return f"{hours} hours" if hours > 1 else f"{max(milliseconds // 60_000, 1)} minutes"
