import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.keeping import UNMETERED_BYTES, open_keeping
from edge.settings import EdgeSettings, SinkKind
from edge.sinks.directory import DirectorySink
from edge.sinks.objects import ObjectSink
from edge.workflow.store import DiskRunStore
from edge.workflow.store_objects import ObjectRunStore
from tests.support.object_server import BUCKET, KEY_ID, SECRET, ObjectServer, served
from tests.support.real_loop import real_loop
from tests.support.region_keys import SeededKeys
from tests.support.sink_suite import Site
from zentransfer.service import CannotStart
from zentransfer.settings import SettingsError, effective, load

IN_BUCKET = {"kind": "s3", "bucket": BUCKET, "access_key_id": KEY_ID, "secret_access_key": SECRET}


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    yield from served(ObjectServer())


def settings(data: Path, **sink: str) -> EdgeSettings:
    (data / "sink").mkdir(exist_ok=True)
    table = {"region": "fr", "node": "fr-1", "data_dir": str(data), "sink": sink}
    return EdgeSettings.model_validate(table)


def test_an_empty_file_keeps_content_in_a_folder(tmp_path: Path) -> None:
    async def run() -> None:
        keys = SeededKeys()
        wanted = settings(tmp_path)
        assert wanted.sink.kind is SinkKind.DIRECTORY
        keeping = await open_keeping(wanted, keys.public)
        assert isinstance(keeping.sink, DirectorySink)
        assert isinstance(keeping.runs, DiskRunStore)
        assert keeping.state()[0]
        assert 0 < keeping.room_bytes() < UNMETERED_BYTES
        await keeping.tend()
        keeping.close()

    real_loop(run())


def test_a_bucket_is_proved_and_holds_a_region_apart(tmp_path: Path, server: ObjectServer) -> None:
    async def run() -> None:
        keys = SeededKeys()
        wanted = settings(tmp_path, **IN_BUCKET, endpoint=server.url, prefix="a/b")
        keeping = await open_keeping(wanted, keys.public)
        assert isinstance(keeping.sink, ObjectSink)
        assert isinstance(keeping.runs, ObjectRunStore)
        assert keeping.state() == (True, "the store answers")
        assert keeping.room_bytes() == UNMETERED_BYTES
        upload, _ = await Site(keeping.sink, keeping.sink, keys).committed(10)
        assert f"a/b/fr/records/{upload}" in server.objects
        assert not server.keys("probe")
        keeping.close()

    real_loop(run())


@pytest.mark.parametrize("key", ["bucket", "access_key_id"])
def test_a_store_that_is_not_ours_stops_the_start_until_a_person_comes(
    key: str, tmp_path: Path, server: ObjectServer
) -> None:
    async def run() -> None:
        wanted = settings(tmp_path, **{**IN_BUCKET, key: "stranger"}, endpoint=server.url)
        with pytest.raises(CannotStart) as refused:
            await open_keeping(wanted, SeededKeys().public)
        assert not refused.value.temporary
        assert "stranger" not in str(refused.value)

    real_loop(run())


def test_a_store_that_ignores_conditions_stops_the_start(tmp_path: Path) -> None:
    lax = ObjectServer(is_lax=True).start()

    async def run() -> None:
        wanted = settings(tmp_path, **IN_BUCKET, endpoint=lax.url)
        with pytest.raises(CannotStart, match="ignores the conditions") as refused:
            await open_keeping(wanted, SeededKeys().public)
        assert not refused.value.temporary

    real_loop(run())
    lax.stop()


@pytest.mark.parametrize(
    ("sink", "says"),
    [
        ({"kind": "s3"}, "s3 needs bucket"),
        ({**IN_BUCKET, "secret_access_key": ""}, "s3 needs bucket"),
        ({**IN_BUCKET, "endpoint": "http://store.example"}, "private or loopback"),
        ({**IN_BUCKET, "endpoint": "http://192.0.43.8:9000"}, "private or loopback"),
        ({**IN_BUCKET, "endpoint": "ftp://10.0.0.1"}, "private or loopback"),
        ({**IN_BUCKET, "prefix": "../up/"}, "prefix"),
    ],
)
def test_a_store_that_is_half_described_or_in_the_open_is_refused(
    sink: dict[str, str], says: str, tmp_path: Path
) -> None:
    lines = [f'{key} = "{value}"' for key, value in sink.items()]
    path = tmp_path / "edge.toml"
    path.write_text("\n".join(["[sink]", *lines]))
    with pytest.raises(SettingsError, match=says) as refused:
        load(EdgeSettings, path)
    assert SECRET not in str(refused.value)


def test_a_store_of_ones_own_network_may_do_without_tls(tmp_path: Path) -> None:
    for host in ("localhost:9000", "10.1.2.3:9000", "[fd00::1]:9000"):
        assert settings(tmp_path, **IN_BUCKET, endpoint=f"http://{host}").sink.endpoint
    assert settings(tmp_path, **IN_BUCKET, endpoint="https://store.example").sink.endpoint


def test_the_keys_are_masked_wherever_settings_are_shown(tmp_path: Path) -> None:
    shown = effective(settings(tmp_path, **IN_BUCKET)) + repr(settings(tmp_path, **IN_BUCKET))
    assert KEY_ID not in shown
    assert SECRET not in shown
    assert os.fspath(tmp_path) in shown
