import json
import stat
from pathlib import Path

from ops.child import BackOff, Child
from ops.programs import Place
from ops.running import Register, of_folder
from zentransfer.ids import Region

STARTED = Child().started(7, 0.0)


def register(folder: Path) -> Register:
    (folder / "run").mkdir(exist_ok=True)
    return Register(Place(folder, 9000, (Region.FR,), 1.0))


def written(folder: Path, control: Child) -> dict[str, str]:
    children = {"control": control, "fr-ingest-0": STARTED.ready(), "fr-delivery-0": STARTED}
    register(folder).write(children)
    document = json.loads(of_folder(folder).read_text())
    assert document["system"]["control"]["pid"] == (control.pid or 0)
    assert document["system"]["edges"]["fr"]["pids"] == {"ingest-0": 7, "delivery-0": 7}
    states: dict[str, str] = document["states"]
    return states


def test_each_process_has_a_word_from_its_start_to_its_end(tmp_path: Path) -> None:
    told = STARTED.ready().told_to_stop()
    lives = [Child(), STARTED, STARTED.exited(1, 1.0, BackOff()), told]
    words = [written(tmp_path, one)["control"] for one in [*lives, told.exited(0, 1.0, BackOff())]]
    assert words == ["waiting", "starting", "away", "draining", "ended"]
    assert written(tmp_path, told)["fr-ingest-0"] == "serving"


def test_it_is_private_and_removed_at_the_end(tmp_path: Path) -> None:
    path = of_folder(tmp_path)
    written(tmp_path, STARTED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["system.json"]
    register(tmp_path).remove()
    register(tmp_path).remove()
    assert not path.exists()


def test_a_disk_that_refuses_leaves_what_was_there(tmp_path: Path) -> None:
    written(tmp_path, STARTED)
    was = of_folder(tmp_path).read_text()
    (tmp_path / "run/system.new").mkdir()
    register(tmp_path).write({"control": Child()})
    assert of_folder(tmp_path).read_text() == was
