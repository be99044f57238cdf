import pytest

from edge.settings import EdgeSettings
from tests.support.settings_rules import check_settings
from zentransfer.settings import SettingsError, load


def test_every_field_has_a_default_and_a_description() -> None:
    check_settings(EdgeSettings)


def test_an_empty_file_makes_a_node() -> None:
    settings = load(EdgeSettings, None)
    assert (settings.region, settings.node) == ("us", "us-1")


def test_a_node_of_another_region_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZT_EDGE_NODE", "fr-1")
    with pytest.raises(SettingsError, match="node must be one of region us"):
        load(EdgeSettings, None)
