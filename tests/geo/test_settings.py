from pathlib import Path

import pytest

from geo.mmdb import open_database
from geo.network import parse
from geo.settings import FETCHED, GeoSettings, database_path
from zentransfer.settings import SettingsError, load


def test_without_a_word_the_fetched_database_serves_if_it_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ZT_GEO_DATABASE", raising=False)
    assert database_path(fetched=tmp_path / "nothing") is None
    assert database_path(fetched=tmp_path) == tmp_path
    assert load(GeoSettings, None).database is None


def test_none_is_no_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZT_GEO_DATABASE", "none")
    assert database_path(fetched=tmp_path) is None
    assert database_path(Path("none"), fetched=tmp_path) is None


@pytest.mark.peer
def test_the_database_that_the_set_up_fetches_knows_the_world() -> None:
    locator = open_database(FETCHED)
    for text, country in (("8.8.8.8", "US"), ("2a01:e0a::1", "FR"), ("203.116.0.1", "SG")):
        found = locator.locate(parse(text))
        assert found is not None
        assert found.country == country
        assert found.place is not None
    assert all("db-ip.com" in (source.attribution or "") for source in locator.sources)


def test_the_option_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZT_GEO_DATABASE", "/srv/geo")
    assert database_path() == Path("/srv/geo")
    assert database_path(Path("mine.mmdb")) == Path("mine.mmdb")


def test_a_misspelt_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZT_GEO_DATABSE", "/srv/geo")
    with pytest.raises(SettingsError, match="did you mean ZT_GEO_DATABASE"):
        database_path()
