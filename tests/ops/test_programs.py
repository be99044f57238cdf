import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from control.settings import ControlSettings
from edge.doors import passive_ports
from edge.settings import EdgeSettings
from ops.programs import Leaves, Place, overriding, plan, toml
from zentransfer.ids import Region

PLACE = Place(Path("/srv/zt"), 8000, (Region.US, Region.FR), 60.0)
PLAN = plan(PLACE, "/usr/bin/python3")


def test_every_region_has_an_ingest_and_a_delivery_and_control_is_one() -> None:
    assert [program.name for program in PLAN.programs] == [
        "control",
        "us-ingest-0",
        "us-delivery-0",
        "fr-ingest-0",
        "fr-delivery-0",
    ]


def test_a_program_is_started_as_a_module_with_its_own_settings() -> None:
    commands = {program.name: " ".join(program.command[2:]) for program in PLAN.programs}
    assert commands["control"] == "-m control --settings /srv/zt/run/control.toml"
    expected = "-m edge delivery --index 0 --settings /srv/zt/run/fr.toml"
    assert commands["fr-delivery-0"] == expected
    # -P: a folder named control where the launcher is started is not run in its place.
    assert all(program.command[:2] == ("/usr/bin/python3", "-P") for program in PLAN.programs)


def test_who_takes_bytes_in_leaves_first_and_control_last() -> None:
    ranks = {program.name.partition("-")[2]: program.leaves for program in PLAN.programs}
    assert ranks == {
        "": Leaves.LAST,
        "ingest-0": Leaves.FIRST,
        "delivery-0": Leaves.THEN,
    }
    assert Leaves.FIRST < Leaves.THEN < Leaves.LAST


def test_readiness_is_asked_where_there_is_a_listener() -> None:
    urls = {program.name: program.ready_url for program in PLAN.programs}
    assert urls["control"] == "http://127.0.0.1:8000/readyz"
    assert urls["fr-ingest-0"] == "http://127.0.0.1:8280/readyz"
    assert urls["fr-delivery-0"] is None
    lives = {program.name: program.live_url for program in PLAN.programs}
    assert lives["fr-ingest-0"] == "http://127.0.0.1:8280/livez"
    assert lives["fr-delivery-0"] is None


def test_workers_share_doors_and_their_successors_have_an_index_that_nobody_runs() -> None:
    place = Place(Path("/srv/zt"), 8000, (Region.US,), 60.0, workers=2)
    wanted = plan(place, "/usr/bin/python3")
    takers = [one for one in wanted.programs if "ingest" in one.name]
    assert [one.name for one in takers] == ["us-ingest-0", "us-ingest-1"]
    assert [one.listeners["http"].number for one in takers] == [8100, 8100]
    assert [one.listeners["ftp"].number for one in takers] == [8121, 8121]
    assert [one.ready_url for one in takers] == [
        "http://127.0.0.1:8180/readyz",
        "http://127.0.0.1:8181/readyz",
    ]
    turns = {name: one.name for name, one in wanted.successors.items()}
    assert turns == {
        "us-ingest-0": "us-ingest-2",
        "us-ingest-1": "us-ingest-3",
        "us-ingest-2": "us-ingest-0",
        "us-ingest-3": "us-ingest-1",
        "us-delivery-0": "us-delivery-0",
    }
    edge = EdgeSettings.model_validate(tomllib.loads(toml(wanted.files["us.toml"])))
    slices = [passive_ports(edge, index) for index in range(2)]
    assert [(each.start, len(each)) for each in slices] == [(10_000, 1_000), (11_000, 1_000)]
    assert passive_ports(edge, 2) == slices[0]


def test_a_program_is_given_the_variables_of_its_own_plane() -> None:
    prefixes = {program.name: program.prefix for program in PLAN.programs}
    assert prefixes["control"] == ControlSettings.model_config.get("env_prefix")
    assert prefixes["fr-ingest-0"] == EdgeSettings.model_config.get("env_prefix")
    assert prefixes["fr-delivery-0"] == prefixes["fr-ingest-0"]


def test_the_planes_accept_what_they_are_given() -> None:
    edge = EdgeSettings.model_validate(tomllib.loads(toml(PLAN.files["fr.toml"])))
    assert (edge.region, edge.node, edge.http.port) == (Region.FR, "fr-1", 8200)
    assert edge.data_dir == Path("/srv/zt/fr")
    assert edge.control.address == "127.0.0.1:8001"
    assert edge.drain_deadline_s == 60
    assert edge.route.http == {
        Region.US: "http://127.0.0.1:8100",
        Region.FR: "http://127.0.0.1:8200",
    }
    assert edge.route.ftp == {Region.US: "127.0.0.1:8121", Region.FR: "127.0.0.1:8221"}
    assert edge.route.entry == ("localhost:8100", "localhost:8200")
    control = ControlSettings.model_validate(tomllib.loads(toml(PLAN.files["control.toml"])))
    assert (control.http.port, control.grpc.port) == (8000, 8001)
    assert control.route == edge.route


def test_a_variable_that_overrides_the_launcher_is_found_and_others_pass() -> None:
    names = ["ZT_EDGE_HTTP__PORT", "zt_control_grpc", "ZT_EDGE_NEW", "ZT_UP_BASE", "PATH"]
    assert overriding(names, PLAN) == ["ZT_EDGE_HTTP__PORT", "zt_control_grpc"]


keys = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
values = st.text() | st.integers(-(2**53), 2**53) | st.booleans()
groups = st.dictionaries(keys, values | st.dictionaries(keys, values, max_size=2), max_size=3)
tables = st.dictionaries(keys, values | groups, max_size=5)


@given(tables)
def test_what_is_written_as_toml_reads_back(table: dict[str, str | dict[str, str]]) -> None:
    assert tomllib.loads(toml(table)) == table
