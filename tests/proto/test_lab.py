import pytest
from pydantic_settings import SettingsConfigDict

from zentransfer.lab import PlaneSettings
from zentransfer.settings import SettingsError, load


class Settings(PlaneSettings):
    model_config = SettingsConfigDict(env_prefix="ZT_EDGE_")


def test_the_switches_of_a_lab_are_off_and_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load(Settings, None).lab.client_header
    monkeypatch.setenv("ZT_EDGE_LAB__CLIENT_HEADER", "true")
    assert load(Settings, None).lab.client_header


@pytest.mark.parametrize("switch", ["client_header", "allow_private_destinations"])
def test_production_does_not_start_with_a_switch_of_the_lab(
    monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    monkeypatch.setenv("ZT_EDGE_PROFILE", "production")
    assert load(Settings, None).profile == "production"
    monkeypatch.setenv(f"ZT_EDGE_LAB__{switch.upper()}", "true")
    with pytest.raises(SettingsError, match=f"lab.{switch} is on.*switch it off"):
        load(Settings, None)
