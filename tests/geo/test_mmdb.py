import os
import threading
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from geo.mmdb import (
    DatabaseError,
    FlatFile,
    Folder,
    GeoIP2File,
    Locator,
    MemoryLocator,
    ReloadingLocator,
    open_database,
)
from geo.region import Location, Place
from tests.geo.databases import LYON, MUMBAI, city_file, geoip2_file, in_maxmind_schema, write_mmdb
from zentransfer.errors import Code
from zentransfer.limits import GEO_DATABASES_MAX

IN_LYON = Location("FR", Place(45.75, 4.85), None, "Lyon")
IN_MUMBAI = Location("IN", Place(19.07, 72.88), None, "Mumbai")
RECORDS = {ip_network("203.0.113.0/24"): IN_LYON, ip_network("198.51.100.0/24"): IN_MUMBAI}

FORMS: dict[str, Callable[[Path], Locator]] = {
    "memory": lambda _: MemoryLocator(RECORDS),
    "flat file": lambda folder: FlatFile(city_file(folder)),
    "geoip2 file": lambda folder: GeoIP2File(geoip2_file(folder)),
    "folder": lambda folder: Folder([FlatFile(city_file(folder))]),
    "reloading": lambda folder: ReloadingLocator(city_file(folder)),
}


@pytest.fixture(params=FORMS)
def locator(request: pytest.FixtureRequest, tmp_path: Path) -> Locator:
    return FORMS[request.param](tmp_path)


@pytest.mark.parametrize(
    ("address", "location"),
    [
        ("203.0.113.9", IN_LYON),
        ("198.51.100.255", IN_MUMBAI),
        ("192.0.2.1", None),
        # Dual-stack sockets show IPv4 peers like this; no writer makes an alias for it.
        ("::ffff:203.0.113.9", IN_LYON),
        # In an IPv4 file the readers raise ValueError for it.
        ("2001:ffff::1", None),
    ],
)
def test_every_form_answers_alike(
    locator: Locator, address: str, location: Location | None
) -> None:
    assert locator.locate(ip_address(address)) == location


def test_the_type_that_a_file_states_picks_its_reader(tmp_path: Path) -> None:
    flat, typed = open_database(city_file(tmp_path)), open_database(geoip2_file(tmp_path))
    assert [source.reader for source in (*flat.sources, *typed.sources)] == ["maxminddb", "geoip2"]
    assert typed.locate(ip_address("2001:db8::1")) == IN_LYON


def test_a_source_says_what_its_licence_asks_to_be_shown(tmp_path: Path) -> None:
    flat, typed = open_database(city_file(tmp_path)), open_database(geoip2_file(tmp_path))
    own = write_mmdb(tmp_path / "own.mmdb", "route", {"203.0.113.0/24": LYON})
    assert "https://db-ip.com" in (flat.sources[0].attribution or "")
    assert "MaxMind" in (typed.sources[0].attribution or "")
    assert open_database(own).sources[0].attribution is None


@pytest.mark.parametrize(
    ("kind", "record", "location"),
    [
        ("GeoLite2-Country", {"country": {"iso_code": "SG"}}, Location("SG")),
        ("GeoLite2-ASN", {"autonomous_system_number": 64500}, Location(asn=64500)),
        ("GeoIP2-ISP", {"autonomous_system_number": 64500}, Location(asn=64500)),
        (
            "GeoIP2-Enterprise",
            {**in_maxmind_schema(LYON), "traits": {"autonomous_system_number": 64500}},
            Location("FR", Place(45.75, 4.85), 64500, "Lyon"),
        ),
        ("DBIP-City-Lite", in_maxmind_schema(LYON), IN_LYON),
        ("GeoIP2-City", {"location": {"latitude": 1.0}}, Location()),
        ("country", {"country_code": "sg"}, Location("SG")),
        ("asn", {"autonomous_system_number": 64500}, Location(asn=64500)),
        ("city", {"latitude": "45.75", "longitude": "4.85"}, Location(place=Place(45.75, 4.85))),
        ("city", {"latitude": 91.0, "longitude": 4.85}, Location()),
        ("city", {"latitude": "north", "longitude": ["4"], "city": ""}, Location()),
        ("city", {"country_code": "ZZ"}, Location()),
        ("city", {"country_code": "France"}, Location()),
        ("city", ["no", "map"], None),
        ("GeoIP2-Anonymous-IP", {"is_anonymous": True}, Location()),
    ],
)
def test_each_schema_gives_what_it_holds_and_nothing_else(
    tmp_path: Path, kind: str, record: object, location: Location | None
) -> None:
    path = write_mmdb(tmp_path / "one.mmdb", kind, {"203.0.113.0/24": record})
    assert open_database(path).locate(ip_address("203.0.113.9")) == location


def test_the_narrowest_network_in_memory_answers() -> None:
    memory = MemoryLocator(
        {ip_network("203.0.0.0/16"): IN_MUMBAI, ip_network("203.0.113.0/24"): IN_LYON}
    )
    assert memory.locate(ip_address("203.0.113.9")) == IN_LYON
    assert memory.locate(ip_address("203.0.1.9")) == IN_MUMBAI
    assert memory.sources == ()


def test_the_files_of_a_folder_complete_each_other(tmp_path: Path) -> None:
    city_file(tmp_path)
    write_mmdb(
        tmp_path / "asn.mmdb", "asn", {"203.0.113.0/24": {"autonomous_system_number": 64500}}
    )
    write_mmdb(tmp_path / "dbip-city-ipv6.mmdb", "city ipv6", {"2001:db8::/32": MUMBAI}, 6)
    (tmp_path / "README").write_text("not a database")
    folder = open_database(tmp_path)
    assert [source.file for source in folder.sources] == [
        "asn.mmdb",
        "dbip-city-ipv4.mmdb",
        "dbip-city-ipv6.mmdb",
    ]
    assert folder.locate(ip_address("203.0.113.9")) == Location(
        "FR", Place(45.75, 4.85), 64500, "Lyon"
    )
    assert folder.locate(ip_address("2001:db8::1")) == IN_MUMBAI
    assert folder.locate(ip_address("192.0.2.1")) is None


@pytest.mark.reaches("GEO_DATABASES_MAX")
def test_a_folder_of_too_many_databases_is_refused(tmp_path: Path) -> None:
    path = city_file(tmp_path)
    for number in range(GEO_DATABASES_MAX - 1):
        os.link(path, tmp_path / f"{number}.mmdb")
    assert len(open_database(tmp_path).sources) == GEO_DATABASES_MAX
    os.link(path, tmp_path / "one-more.mmdb")
    with pytest.raises(DatabaseError, match=f"more than {GEO_DATABASES_MAX}"):
        open_database(tmp_path)


def cut_short(folder: Path) -> Path:
    path = city_file(folder)
    path.write_bytes(path.read_bytes()[:200])
    return path


def empty(folder: Path) -> Path:
    path = folder / "empty.mmdb"
    path.touch()
    return path


def text(folder: Path) -> Path:
    path = folder / "text.mmdb"
    path.write_text("203.0.113.0/24,FR\n")
    return path


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda folder: folder / "nowhere.mmdb", "there is no such file"),
        (lambda folder: folder, "there is no .mmdb file in this folder"),
        (lambda folder: text(folder) / "below-a-file", "it cannot be read (Not a directory)"),
        (lambda _: Path("/dev/null"), "it is damaged, cut short, or no MMDB file"),
        (cut_short, "it is damaged, cut short, or no MMDB file"),
        (empty, "it is damaged, cut short, or no MMDB file"),
        (text, "it is damaged, cut short, or no MMDB file"),
    ],
)
def test_what_is_no_database_is_named_with_the_cure(
    tmp_path: Path, make: Callable[[Path], Path], problem: str
) -> None:
    path = make(tmp_path)
    with pytest.raises(DatabaseError) as refused:
        open_database(path)
    assert (refused.value.path, refused.value.problem) == (path, problem)
    assert str(refused.value).startswith(f"{path}: {problem}; {refused.value.cure}")
    assert refused.value.cure
    # What may reach a peer holds no path (law 11).
    assert str(path) not in refused.value.detail
    assert refused.value.code is Code.UNAVAILABLE


def test_records_that_belie_the_type_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "liar.mmdb", "GeoIP2-City", {"203.0.113.0/24": LYON})
    with pytest.raises(DatabaseError, match=r"liar\.mmdb: its records are not what its type"):
        open_database(path).locate(ip_address("203.0.113.9"))


def damaged_inside(path: Path) -> Path:
    """Spoil the records of *path* and leave the tree and the description whole."""
    data = bytearray(path.read_bytes())
    start = data.index(b"country")
    data[start - 3 : start + 60] = b"\xff" * 63
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("make", [city_file, geoip2_file])
def test_damage_found_only_when_asked_is_an_error_that_names_the_file(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = damaged_inside(make(tmp_path))
    with pytest.raises(DatabaseError, match="damaged") as refused:
        open_database(path).locate(ip_address("203.0.113.9"))
    assert refused.value.path == path


def test_a_new_database_is_swapped_in_under_readers_without_a_lost_answer(tmp_path: Path) -> None:
    path = city_file(tmp_path)
    locator = ReloadingLocator(path)
    address, stop = ip_address("203.0.113.9"), threading.Event()
    answers: list[set[Location | None]] = [set(), set()]

    def read(seen: set[Location | None]) -> None:
        while not stop.is_set():
            seen.add(locator.locate(address))

    readers = [threading.Thread(target=read, args=(seen,)) for seen in answers]
    for reader in readers:
        reader.start()
    try:
        for turn in range(40):
            record = LYON if turn % 2 else MUMBAI
            beside = write_mmdb(tmp_path / "new", "city ipv4", {"203.0.113.0/24": record})
            beside.replace(path)
            locator.reload()
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert locator.locate(address) == IN_LYON
    for seen in answers:
        assert seen, "a reader that never read proves nothing"
        assert seen <= {IN_LYON, IN_MUMBAI}


def test_a_bad_new_database_leaves_the_last_good_one_in_place(tmp_path: Path) -> None:
    path = city_file(tmp_path)
    locator = ReloadingLocator(path)
    text(tmp_path).replace(path)
    with pytest.raises(DatabaseError):
        locator.reload()
    assert locator.locate(ip_address("203.0.113.9")) == IN_LYON
    assert locator.sources[0].type == "city ipv4"
