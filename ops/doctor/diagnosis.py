"""From what was seen to sentences: each step, whether it is right, and the cure.  Pure.

The rule: every fact gives the same sentences at all times; what could not be looked at is said too,
and a step that a camera needs is never right because it was not looked at.
"""

from ipaddress import ip_address
from typing import Final

from ops.doctor.security import clocks, security, withheld
from ops.doctor.seen import Dial, Heard, Lost, Passive, Said, Seen, Stored
from ops.doctor.steps import Step, look, right, untried, wrong

_SLOW_S: Final = 3.0
_LATE_226_S: Final = 20.0
_LOST: Final = {
    Lost.REFUSED: "refused the connection",
    Lost.SILENT: "did not answer",
    Lost.UNREACHABLE: "cannot be reached from this network",
    Lost.CLOSED: "closed the connection",
    Lost.GARBLED: "answered something that is not FTP",
}
_RANGE: Final = (
    "The port is closed by a firewall, or the server's passive range is not let through: the "
    "server's owner must open that range. Do not turn on an FTP helper in the firewall: it cannot "
    "read what is encrypted."
)


def diagnosis(seen: Seen) -> list[Step]:
    """Return every step, in the order in which a camera meets them."""
    steps = [*_names(seen), *_dials(seen), *_greeting(seen), *security(seen), *clocks(seen)]
    steps += [*withheld(seen), *_sign_in(seen)]
    steps += [step for one in seen.passives for step in _passive(seen, one)]
    steps += [*_stored(seen), *_idle(seen)]
    return steps or [untried("all", "Nothing was looked at.")]


def _names(seen: Seen) -> list[Step]:
    names, host = seen.names, seen.wanted.host
    if names is None:
        return []
    if names.is_literal:
        cure = "Use the server's name if it has one: certificates are for names."
        return [look("address", f"{host} is an address, not a name.", cure)]
    if names.is_resolver_down:
        cure = "Look at this network: is there internet, and does the phone's hotspot work?"
        return [wrong("address", f"The name {host} could not be looked up now.", cure)]
    if not names.v4 and not names.v6:
        cure = "Check the spelling in the camera, without ftp:// in front and without a path."
        return [wrong("address", f"There is no server of the name {host}.", cure)]
    found = ", ".join([*names.v4, *names.v6])
    if not names.v4:
        cure = "Most cameras speak IPv4 only; the server needs an IPv4 address too."
        return [look("address", f"{host} has IPv6 addresses only: {found}.", cure)]
    return [right("address", f"{host} is {found}.")]


def _dials(seen: Seen) -> list[Step]:
    return [_dial(seen, one) for one in seen.dials]


def _dial(seen: Seen, one: Dial) -> Step:
    where = f"{one.address} port {one.port}"
    if one.lost is None:
        took = f"{where} answers in {one.seconds * 1000:.0f} ms."
        if one.seconds < _SLOW_S:
            return right("connection", took)
        return look("connection", took, "This network is slow; a camera may give up. Try another.")
    said = f"{where} {_LOST[one.lost]}."
    if seen.reached is not None:
        cure = "Another address of the server works; a camera that tries this one first waits."
        return look("connection", said, cure)
    if one.lost is Lost.REFUSED:
        cure = "Check the port (21, or 990 for implicit TLS). If it is right, no server runs there."
    else:
        cure = (
            "A firewall drops it, here or at the server. Try another network, such as a phone's "
            "hotspot; many guest networks let only web pages through."
        )
    return wrong("connection", said, cure)


def _greeting(seen: Seen) -> list[Step]:
    match seen.greeting:
        case None:
            return []
        case Said(code=220, text=text):
            return [right("greeting", f"The server says: {_quoted(text)}.")]
        case Said(code=421, text=text):
            said = f"The server sends us away: {_quoted(text)}."
            cure = "It is full or restarting: cameras try again by themselves. Wait a minute."
        case Said(code=code, text=text):
            said = f"The server begins with {code}: {_quoted(text)}."
            cure = "Check host and port: this may be another server than you think."
        case Lost.SILENT:
            said = "The server takes the connection and says nothing."
            cure = "With implicit TLS a server waits for the client: try --tls implicit."
        case Lost.GARBLED:
            said = "What the server says is not FTP."
            cure = "Check the port: this is not FTP, or it is implicit TLS (--tls implicit)."
        case _:
            said = "The server closes the connection at once."
            cure = "It may refuse this network, or be full: wait a few minutes, then ask its owner."
    return [wrong("greeting", said, cure)]


def _sign_in(seen: Seen) -> list[Step]:
    if seen.greeting is None or seen.password_withheld:
        return []
    if not seen.wanted.has_credential:
        return [untried("sign-in", "No name was given.", "Say --user, and the password's file.")]
    answer = seen.user if seen.password is None else seen.password
    return [untried("sign-in", "An earlier step failed.") if answer is None else _signed(answer)]


def _signed(answer: Heard) -> Step:
    """Return what the last answer to USER and PASS means."""
    match answer:
        case Said(code=230):
            return right("sign-in", "Name and password are right.")
        case Said(code=530, text=text):
            return _refused(text)
        case Said(code=421, text=text):
            cure = "The server is full or restarting, or too many passwords were wrong: wait."
            return wrong("sign-in", f"The server sends us away: {_quoted(text)}.", cure)
        case _:
            cure = "Try again in a minute; then ask the server's owner."
            return wrong("sign-in", f"Signing in failed: {_told(answer)}.", cure)


def _refused(text: str) -> Step:
    """Return what a 530 means, by what the server says with it."""
    words = text.lower()
    if any(word in words for word in ("tls", "ssl", "encrypt")):
        cure = "Set the camera to FTPS (explicit), and call this with --tls explicit."
        said = f"The server wants encryption first: {_quoted(text)}."
    elif any(word in words for word in ("suspend", "paused", "closed", "disabled", "over")):
        cure = "Look at the account's page: it says what to do."
        said = f"The account may not send now: {_quoted(text)}."
    else:
        cure = (
            "Type name and password again: lower case, no space. A revoked credential looks the "
            "same; make a new one for this camera."
        )
        said = f"The server does not take name and password: {_quoted(text)}."
    return wrong("sign-in", said, cure)


def _passive(seen: Seen, one: Passive) -> list[Step]:
    name = f"data ({one.verb})"
    if one.dial is None:
        cure = "The server's owner must allow passive mode; no camera can do without."
        return [wrong(name, f"No data port was given: {_told(one.answer)}.", cure)]
    return [*_announced(seen, one, name), _data(one, one.dial, name)]


def _announced(seen: Seen, one: Passive, name: str) -> list[Step]:
    """Return what is wrong with the address in the answer to PASV, if anything is."""
    reached = seen.reached
    if not one.host or reached is None or one.host == reached.address:
        return []
    kind = "a private address" if ip_address(one.host).is_private else "another host"
    return [
        wrong(
            name,
            f"The server sends the camera to {kind}, {one.host}, instead of {reached.address}.",
            "The server's owner must set its public address for passive mode (NAT). Cameras that "
            "ignore the address, or use EPSV, work all the same.",
        )
    ]


def _data(one: Passive, dial: Dial, name: str) -> Step:
    if dial.lost is not None:
        return wrong(name, f"The data port {dial.port} {_LOST[dial.lost]}.", _RANGE)
    if one.handshake:
        cure = "Try again; if it stays, the server's owner must look at TLS on data connections."
        return wrong(name, f"TLS failed on the data connection ({one.handshake}).", cure)
    if isinstance(one.ending, Said) and one.ending.code in {226, 250}:
        resumed = " It resumed the TLS session, as it should." if one.is_resumed else ""
        return right(name, f"Port {dial.port} answers, and a list came over it.{resumed}")
    told = one.ending if one.ending is not None else one.opening
    if isinstance(told, Said) and told.code in {425, 426}:
        return wrong(name, f"The data connection did not work: {_told(told)}.", _RANGE)
    said = f"Port {dial.port} answers; no list came over it: {_told(told)}."
    return look(name, said, "Servers for sending only may refuse lists; try --upload.")


def _stored(seen: Seen) -> list[Step]:
    one = seen.stored
    if one is None:
        return []
    if not (isinstance(one.ending, Said) and one.ending.code in {226, 250}):
        return [wrong("upload", f"The test file was not taken: {_told(one.ending)}.", _cure(one))]
    took = f"The test file of {one.size} bytes is stored, {one.seconds:.1f} s after its end."
    if one.seconds > _LATE_226_S:
        cure = "Cameras may give up before the answer and send the file again; this is slow."
        return [look("upload", took, cure), _size(one)]
    return [right("upload", took), _size(one)]


def _cure(one: Stored) -> str:
    code = one.ending.code if isinstance(one.ending, Said) else 0
    return {
        425: _RANGE,
        426: "The connection was cut on its way; try again, and another network.",
        451: "The server cannot take it now; cameras send it again by themselves.",
        452: "The server is full; try again later.",
        552: "The account's quota is used up: look at its page.",
        530: "This needs another credential, or encryption.",
        550: "The credential may not store here; look at its folder.",
        553: "The server refuses the name of the file.",
    }.get(code, "Try again; then ask the server's owner.")


def _size(one: Stored) -> Step:
    match one.told_size:
        case Said(code=213, text=text) if text.strip() == str(one.size):
            return right("size", "The server tells the size that was sent (SIZE).")
        case Said(code=213, text=text):
            cure = "Do not trust this server with more files before its owner has looked."
            return wrong("size", f"The server tells another size: {_quoted(text)}.", cure)
        case told:
            cure = "Cameras do not ask; programs that check sizes may complain."
            return look("size", f"The server does not tell the size: {_told(told)}.", cure)


def _idle(seen: Seen) -> list[Step]:
    if seen.idle is None or not seen.wanted.idle_s:
        return []
    waited = f"{seen.wanted.idle_s:.0f} s of silence"
    if isinstance(seen.idle, Said) and seen.idle.code == 200:  # noqa: PLR2004 - NOOP's only success
        return [right("idle", f"The connection outlives {waited}.")]
    cure = (
        "A router, or the server, drops quiet connections: the last answer after a long file may "
        "be lost, and the camera sends the file again, which is harmless here. Set a longer time."
    )
    return [look("idle", f"After {waited} the connection is gone: {_told(seen.idle)}.", cure)]


def _told(answer: Heard | None) -> str:
    match answer:
        case None:
            return "nothing was said"
        case Said(code=code, text=text):
            return f"{code} {_quoted(text)}"
        case _:
            return f"the server {_LOST[answer]}"


def _quoted(text: str) -> str:
    return f"“{text[:120]}”"
