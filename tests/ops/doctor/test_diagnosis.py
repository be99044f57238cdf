from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.doctor.diagnosis import diagnosis
from ops.doctor.seen import (
    Certificate,
    Dial,
    Heard,
    Lost,
    Mode,
    Names,
    Passive,
    Said,
    Secured,
    Seen,
    Stored,
    Wanted,
)
from ops.doctor.steps import Step, Verdict, exit_code

DAY_MS = 86_400_000
NOW_MS = 20_000 * DAY_MS
HOST = "ftp.example.com"
ADDRESS = "203.0.113.9"
GOOD = Certificate((HOST,), "CN=R3", False, NOW_MS - DAY_MS, NOW_MS + 80 * DAY_MS, "ECDSA 256")
TLS = Secured("TLSv1.3", "TLS_AES_256_GCM_SHA384", GOOD)
OPEN = Dial(ADDRESS, 21, None, 0.02)
LISTED = Passive(
    "PASV", Said(227, "(...)"), ADDRESS, Dial(ADDRESS, 40_000, None, 0.02), "", True,
    Said(150, "go"), Said(226, "done"),
)  # fmt: skip


def seen(**more: Any) -> Seen:
    """Return what a camera sees where everything is right."""
    wanted = more.pop("wanted", Wanted(HOST, 21, has_credential=True))
    whole: dict[str, Any] = {
        "names": Names((ADDRESS,)),
        "dials": [OPEN],
        "greeting": Said(220, "ZenTransfer"),
        "auth": Said(234, "go"),
        "protected": Said(200, "ok"),
        "tls": TLS,
        "old_body": replace(TLS, version="TLSv1.2", suite="ECDHE-ECDSA-AES256-GCM-SHA384"),
        "user": Said(331, "password"),
        "password": Said(230, "in"),
        "passives": [LISTED, replace(LISTED, verb="EPSV", host="")],
        "server_ms": NOW_MS + 1_000,
    }
    return Seen(wanted, NOW_MS, **(whole | more))


def step(name: str, **more: Any) -> Step:
    return next(one for one in diagnosis(seen(**more)) if one.name == name)


def worst(name: str, **more: Any) -> Step:
    found = [one for one in diagnosis(seen(**more)) if one.name == name]
    return min(found, key=lambda one: list(Verdict)[::-1].index(one.verdict))


def test_where_all_is_right_nothing_is_to_be_done() -> None:
    steps = diagnosis(seen())
    assert {one.verdict for one in steps} == {Verdict.RIGHT}
    assert not any(one.cure for one in steps)
    assert exit_code(steps) == 0


WRONGS: list[tuple[str, dict[str, Any], str]] = [
    ("address", {"names": Names()}, "spelling"),
    ("address", {"names": Names(is_resolver_down=True)}, "network"),
    ("connection", {"dials": [replace(OPEN, lost=Lost.REFUSED)]}, "port"),
    ("connection", {"dials": [replace(OPEN, lost=Lost.SILENT)]}, "firewall"),
    ("greeting", {"greeting": Lost.SILENT}, "--tls implicit"),
    ("greeting", {"greeting": Lost.CLOSED}, "refuse this network"),
    ("greeting", {"greeting": Lost.GARBLED}, "not FTP"),
    ("greeting", {"greeting": Said(421, "full")}, "again by themselves"),
    ("greeting", {"greeting": Said(554, "no")}, "another server"),
    ("encryption", {"tls": Secured(lost=Lost.GARBLED)}, "port 990"),
    ("certificate", {"tls": replace(TLS, verify_code=18)}, "Import it into the camera"),
    ("certificate", {"tls": replace(TLS, verify_code=20)}, "whole chain"),
    ("certificate", {"tls": replace(TLS, verify_code=99)}, "whole chain"),
    ("name", {"tls": replace(TLS, certificate=replace(GOOD, names=("x.org",)))}, "exactly"),
    ("validity", {"tls": replace(TLS, certificate=replace(GOOD, not_after_ms=NOW_MS))}, "renew"),
    (
        "validity",
        {"tls": replace(TLS, certificate=replace(GOOD, not_before_ms=NOW_MS + 1))},
        "clock of this computer",
    ),
    ("sign-in", {"password": Said(530, "Sign-in failed")}, "Type name and password again"),
    ("sign-in", {"password": Said(530, "This credential needs TLS")}, "FTPS (explicit)"),
    ("sign-in", {"user": Said(530, "TLS please"), "password": None}, "FTPS (explicit)"),
    ("sign-in", {"password": Said(530, "the account is suspended")}, "account's page"),
    ("sign-in", {"password": Said(421, "later")}, "wait"),
    ("sign-in", {"password": Lost.CLOSED}, "Try again"),
    ("data (PASV)", {"passives": [Passive("PASV", Said(500, "no"))]}, "passive mode"),
    ("data (PASV)", {"passives": [replace(LISTED, host="10.0.0.7")]}, "public address"),
    ("data (PASV)", {"passives": [replace(LISTED, host="203.0.113.77")]}, "public address"),
    (
        "data (PASV)",
        {"passives": [replace(LISTED, dial=Dial(ADDRESS, 40_000, Lost.SILENT, 15))]},
        "firewall",
    ),
    ("data (PASV)", {"passives": [replace(LISTED, handshake="closed")]}, "TLS on data"),
    ("data (PASV)", {"passives": [replace(LISTED, ending=Said(425, "no"))]}, "firewall"),
    ("upload", {"stored": Stored(9, Said(552, "full"), 0)}, "quota"),
    ("upload", {"stored": Stored(9, Said(451, "later"), 0)}, "again by themselves"),
    ("upload", {"stored": Stored(9, Lost.CLOSED, 0)}, "Try again"),
    ("size", {"stored": Stored(9, Said(226, "ok"), 0, Said(213, "8"))}, "Do not trust"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "what", "cure"), WRONGS)
def test_what_is_wrong_is_said_with_its_cure(name: str, what: dict[str, Any], cure: str) -> None:
    found = worst(name, **what)
    assert found.verdict is Verdict.WRONG
    assert cure in found.cure
    assert exit_code(diagnosis(seen(**what))) == 1


LOOKS: list[tuple[str, dict[str, Any]]] = [
    ("address", {"names": Names((ADDRESS,), (), is_literal=True)}),
    ("address", {"names": Names((), ("2001:db8::1",))}),
    ("connection", {"dials": [OPEN, replace(OPEN, address="2001:db8::1", lost=Lost.SILENT)]}),
    ("connection", {"dials": [replace(OPEN, seconds=4.0)]}),
    ("encryption", {"auth": Said(502, "no"), "tls": None}),
    ("protocol", {"tls": replace(TLS, version="TLSv1.1")}),
    ("older cameras", {"old_body": Secured(lost=Lost.GARBLED)}),
    ("data", {"protected": Said(534, "no")}),
    ("clock", {"server_ms": NOW_MS + 3_600_000}),
    ("clock", {"server_ms": NOW_MS - 3_600_000}),
    ("validity", {"tls": replace(TLS, certificate=replace(GOOD, not_after_ms=NOW_MS + DAY_MS))}),
    ("data (PASV)", {"passives": [replace(LISTED, opening=Said(550, "no"), ending=None)]}),
    ("upload", {"stored": Stored(9, Said(226, "ok"), 30.0, Said(213, "9"))}),
    ("size", {"stored": Stored(9, Said(226, "ok"), 0, Said(550, "gone"))}),
    (
        "idle",
        {"wanted": Wanted(HOST, 21, has_credential=True, idle_s=60), "idle": Lost.CLOSED},
    ),
]


@pytest.mark.parametrize(("name", "what"), LOOKS)
def test_what_only_some_cameras_stumble_over_fails_nothing(name: str, what: dict[str, Any]) -> None:
    assert worst(name, **what).verdict is Verdict.LOOK
    assert worst(name, **what).cure
    assert exit_code(diagnosis(seen(**what))) == 0


def test_a_mode_that_must_be_there_is_wrong_where_it_is_not() -> None:
    wanted = Wanted(HOST, 21, Mode.EXPLICIT, has_credential=True)
    found = step("encryption", wanted=wanted, auth=Said(502, "no"), tls=None)
    assert found.verdict is Verdict.WRONG


def test_a_password_that_was_kept_back_is_said() -> None:
    bad = replace(TLS, verify_code=18)
    told: dict[str, Any] = {"user": None, "password": None, "passives": []}
    told["password_withheld"] = True
    assert "--insecure" in step("sign-in", tls=bad, **told).cure
    assert "--tls none" in step("sign-in", tls=None, auth=Said(502, "no"), **told).cure


def test_an_upload_and_silence_that_went_well_are_right() -> None:
    wanted = Wanted(HOST, 21, has_credential=True, uploads=True, idle_s=60)
    stored = Stored(9, Said(226, "ok"), 0.1, Said(213, "9"))
    steps = diagnosis(seen(wanted=wanted, stored=stored, idle=Said(200, "here")))
    assert {one.verdict for one in steps} == {Verdict.RIGHT}


heards = st.one_of(
    st.none(), st.sampled_from(Lost), st.builds(Said, st.integers(100, 599), st.text(max_size=20))
)
texts = st.text(max_size=12)
milliseconds = st.integers(NOW_MS - 900 * DAY_MS, NOW_MS + 900 * DAY_MS)
certificates = st.builds(
    Certificate,
    st.lists(texts, max_size=3),
    texts,
    st.booleans(),
    milliseconds,
    milliseconds,
    texts,
)
secured = st.builds(
    Secured, texts, texts, st.none() | certificates, st.integers(0, 99),
    st.none() | st.sampled_from(Lost), texts,
)  # fmt: skip
addresses = st.ip_addresses().map(str)
dials = st.builds(
    Dial, addresses, st.integers(1, 65_535), st.none() | st.sampled_from(Lost), st.floats(0, 60)
)
answers: st.SearchStrategy[Heard] = heards.filter(lambda one: one is not None)  # type: ignore[assignment]
anything = st.builds(
    Seen,
    st.builds(
        Wanted, texts, st.integers(1, 65_535), st.sampled_from(Mode), st.booleans(), st.booleans(),
        st.floats(0, 900), st.booleans(),
    ),
    st.just(NOW_MS),
    names=st.none() | st.builds(
        Names, st.lists(addresses, max_size=2), st.lists(addresses, max_size=2), st.booleans(),
        st.booleans(),
    ),
    dials=st.lists(dials, max_size=2), greeting=heards, auth=heards, protected=heards,
    tls=st.none() | secured, old_body=st.none() | secured, password_withheld=st.booleans(),
    user=heards, password=heards, idle=heards, server_ms=st.none() | milliseconds,
    passives=st.lists(
        st.builds(
            Passive, st.sampled_from(["PASV", "EPSV"]), answers,
            st.just("") | st.ip_addresses(v=4).map(str), st.none() | dials, texts,
            st.booleans(), heards, heards,
        ),
        max_size=2,
    ),
    stored=st.none() | st.builds(Stored, st.integers(0, 99), answers, st.floats(0, 60), heards),
)  # fmt: skip


@given(anything)
def test_whatever_was_seen_is_said_and_each_fault_has_its_cure(whole: Seen) -> None:
    steps = diagnosis(whole)
    assert steps
    assert diagnosis(whole) == steps
    for one in steps:
        assert one.name
        assert one.said.endswith((".", "”")), one
        assert bool(one.cure) or one.verdict in {Verdict.RIGHT, Verdict.UNTRIED}
    if whole.dials and whole.reached is None:
        assert exit_code(steps) == 1
