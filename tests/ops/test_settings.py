from pathlib import Path

import pytest

from ops.settings import UpSettings
from zentransfer.ids import Region
from zentransfer.limits import INGEST_WORKERS_MAX, PORT_BASE_MAX
from zentransfer.settings import SettingsError, effective, load


def written(folder: Path, text: str) -> Path:
    path = folder / "zentransfer.toml"
    path.write_text(text)
    return path


def test_an_empty_file_starts_all_regions_from_port_8000(tmp_path: Path) -> None:
    chosen = load(UpSettings, written(tmp_path, ""))
    assert (chosen.base, chosen.regions, chosen.dir) == (8000, tuple(Region), Path("var"))


def test_what_is_shown_as_effective_loads_again(tmp_path: Path) -> None:
    text = 'base = 9000\nregions = ["fr", "us"]\n[restart]\nmax_s = 5\n'
    chosen = load(UpSettings, written(tmp_path, text))
    assert load(UpSettings, written(tmp_path, effective(chosen))) == chosen


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("bas = 9000", "bas: no such setting .did you mean base"),
        (f"base = {PORT_BASE_MAX + 1}", "base"),
        ('regions = ["us", "us"]', "a region is named twice"),
        ('regions = ["de"]', "regions"),
        ("regions = []", "regions"),
        ("[restart]\nfirst = 1", r"restart\.first: no such setting"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load(UpSettings, written(tmp_path, text))


def test_a_wrong_variable_is_named() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZT_UP_BSE", "9000")
        with pytest.raises(SettingsError, match=r"ZT_UP_BSE.*did you mean ZT_UP_BASE"):
            load(UpSettings, None)


@pytest.mark.reaches("INGEST_WORKERS_MAX")
def test_there_are_at_most_as_many_workers_as_have_ports(tmp_path: Path) -> None:
    most = load(UpSettings, written(tmp_path, f"workers = {INGEST_WORKERS_MAX}\n"))
    assert most.workers == INGEST_WORKERS_MAX
    for wrong in (0, INGEST_WORKERS_MAX + 1):
        with pytest.raises(SettingsError, match="workers"):
            load(UpSettings, written(tmp_path, f"workers = {wrong}\n"))
