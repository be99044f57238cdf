from pathlib import Path

import pytest

from geo.settings import GeoSettings, database_path
from zentransfer.settings import SettingsError, load


def test_without_a_word_there_is_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZT_GEO_DATABASE", raising=False)
    assert database_path() is None
    assert load(GeoSettings, None).database is None


def test_the_option_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZT_GEO_DATABASE", "/srv/geo")
    assert database_path() == Path("/srv/geo")
    assert database_path(Path("mine.mmdb")) == Path("mine.mmdb")


def test_a_misspelt_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZT_GEO_DATABSE", "/srv/geo")
    with pytest.raises(SettingsError, match="did you mean ZT_GEO_DATABASE"):
        database_path()
