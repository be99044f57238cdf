from pathlib import Path

import pytest

from ops.send.settings import SendSettings
from tests.support.settings_rules import check_settings
from zentransfer.limits import SEND_AT_ONCE_MAX
from zentransfer.settings import SettingsError, effective, load


def test_the_settings_keep_the_rules() -> None:
    check_settings(SendSettings)


def test_an_empty_file_sends_to_the_system_here(tmp_path: Path) -> None:
    path = tmp_path / "send.toml"
    path.write_text("")
    chosen = load(SendSettings, path)
    assert (chosen.dir, chosen.region, chosen.at_once) == (Path("var"), "auto", 4)


@pytest.mark.reaches("SEND_AT_ONCE_MAX")
def test_so_many_files_go_at_once(tmp_path: Path) -> None:
    path = tmp_path / "send.toml"
    path.write_text(f"at_once = {SEND_AT_ONCE_MAX}")
    assert load(SendSettings, path).at_once == SEND_AT_ONCE_MAX
    path.write_text(f"at_once = {SEND_AT_ONCE_MAX + 1}")
    with pytest.raises(SettingsError, match="at_once"):
        load(SendSettings, path)


def test_the_token_is_masked(tmp_path: Path) -> None:
    path = tmp_path / "send.toml"
    path.write_text('token = "zt_secret"')
    assert "zt_secret" not in effective(load(SendSettings, path))
