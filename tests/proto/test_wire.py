import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from zentransfer.v1 import facts_pb2, fleet_pb2, snapshot_pb2, types_pb2

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent


# --- the gate ---


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of what the gate looks at."""
    shutil.copytree(
        ROOT / "proto", tmp_path / "proto", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "ops").mkdir()
    shutil.copy(ROOT / "ops" / "proto.sh", tmp_path / "ops")
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    return tmp_path


def run(tree: Path, verb: str) -> tuple[int, str]:
    done = subprocess.run(
        ["bash", "ops/proto.sh", verb],
        cwd=tree,
        env={"PATH": os.defpath, "BIN": str(BIN), "HOME": str(tree)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def edited(tree: Path, name: str, old: str, new: str) -> None:
    """Replace a pattern that occurs once, and bring the generated code up to date."""
    path = tree / "proto" / "zentransfer" / "v1" / name
    text, count = re.subn(old, new, path.read_text())
    assert count == 1
    path.write_text(text)


@pytest.mark.peer
def test_the_schema_as_it_is_passes_and_the_check_changes_nothing(tree: Path) -> None:
    before = {path: path.read_bytes() for path in tree.rglob("proto/**/*") if path.is_file()}
    assert run(tree, "check") == (0, "")
    assert before == {
        path: path.read_bytes() for path in tree.rglob("proto/**/*") if path.is_file()
    }


COMMENT_AND_FIELD = r"(  // [^\n]*\n)+  {}\n"
BREAKS = {
    "a field goes without a word": (
        "fleet.proto",
        COMMENT_AND_FIELD.format(r"uint32 credit = 3;"),
        "",
        "credit",
    ),
    "a field goes and only its name is reserved": (
        "fleet.proto",
        COMMENT_AND_FIELD.format(r"uint32 credit = 3;"),
        '  reserved "credit";\n\n',
        "credit",
    ),
    "a field changes its type": (
        "facts.proto",
        r"uint64 first_sequence = 2;",
        "string first_sequence = 2;",
        "first_sequence",
    ),
    "a field changes its number": (
        "facts.proto",
        r"uint64 first_sequence = 2;",
        "uint64 first_sequence = 4;",
        "FactBatch",
    ),
    "a field changes its name": (
        "snapshot.proto",
        r"string pepper_kid = 5;",
        "string pepper = 5;",
        "pepper",
    ),
    "a field becomes a list": (
        "types.proto",
        r"bytes ciphertext = 2;",
        "repeated bytes ciphertext = 2;",
        "ciphertext",
    ),
    "a word of an enum goes": (
        "types.proto",
        r"  // Singapore.\n  REGION_SG = 3;\n",
        "",
        "Region",
    ),
}


@pytest.mark.peer
@pytest.mark.parametrize("name", BREAKS)
def test_a_breaking_change_is_refused(name: str, tree: Path) -> None:
    file, old, new, says = BREAKS[name]
    edited(tree, file, old, new)
    code, said = run(tree, "check")
    assert code == 1
    broken, found, _ = said.partition("proto: this breaks programs of the last release;")
    assert found
    assert says in broken


ADDITIONS = {
    "a field": (
        "fleet.proto",
        r"  int64 heartbeat_interval_ms = 2;\n",
        "  int64 heartbeat_interval_ms = 2;\n  // New.\n  string novelty = 7;\n",
    ),
    "a message in a choice": (
        "fleet.proto",
        r"    CommandDone done = 7;\n",
        "    CommandDone done = 7;\n    // New.\n    Digest novelty = 1000;\n",
    ),
    "a word of an enum": (
        "types.proto",
        r"  REGION_SG = 3;\n",
        "  REGION_SG = 3;\n  // New.\n  REGION_BR = 4;\n",
    ),
    "a field goes and is reserved": (
        "fleet.proto",
        COMMENT_AND_FIELD.format(r"uint32 credit = 3;"),
        '  reserved 3;\n  reserved "credit";\n\n',
    ),
}


@pytest.mark.peer
def test_changes_that_old_programs_can_live_with_pass(tree: Path) -> None:
    for addition in ADDITIONS.values():
        edited(tree, *addition)
    assert run(tree, "format") == (0, "")
    assert run(tree, "generate") == (0, "")
    assert run(tree, "check") == (0, "")


REFUSED = {
    "not in the one format": (r"bytes ciphertext = 2;", "bytes  ciphertext = 2;", "run: make fmt"),
    "a name that is not the style's": (r"METER_BYTES", "Bytes", "should be UPPER_SNAKE_CASE"),
    "a field that says nothing": (r"  // The node's name[^\n]*\n", "", '"node"'),
    "a message that is not one": (r"message Sealed", "massage Sealed", "cannot be compiled"),
}


@pytest.mark.peer
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_untidy_is_refused_with_its_cure(name: str, tree: Path) -> None:
    old, new, says = REFUSED[name]
    edited(tree, "types.proto", old, new)
    code, said = run(tree, "check")
    assert code == 1
    assert says in said


@pytest.mark.peer
def test_code_that_is_not_from_this_schema_is_refused(tree: Path) -> None:
    with (tree / "proto/zentransfer/v1/types_pb2.py").open("a") as code_of_types:
        code_of_types.write("# by hand\n")
    code, said = run(tree, "check")
    assert code == 1
    assert said.endswith("v1/types_pb2.py is not what its schema gives; run: make proto\n")


@pytest.mark.peer
def test_code_whose_schema_is_gone_is_refused_and_removed(tree: Path) -> None:
    stale = tree / "proto/zentransfer/v1/gone_pb2.py"
    stale.write_text("")
    code, said = run(tree, "check")
    assert (code, said.count("\n")) == (1, 1)
    assert "gone_pb2.py" in said
    assert run(tree, "generate") == (0, "")
    assert not stale.exists()
    assert run(tree, "check") == (0, "")


@pytest.mark.peer
def test_a_release_makes_the_schema_the_one_to_be_kept(tree: Path) -> None:
    edited(
        tree,
        "types.proto",
        r"  REGION_SG = 3;\n",
        "  REGION_SG = 3;\n  // New.\n  REGION_BR = 4;\n",
    )
    assert run(tree, "release") == (0, "")
    edited(tree, "types.proto", r"  // New.\n  REGION_BR = 4;\n", "")
    assert run(tree, "generate") == (0, "")
    code, said = run(tree, "check")
    assert code == 1
    assert "Region" in said


@pytest.mark.peer
def test_what_is_missing_is_named_with_its_cure(tree: Path) -> None:
    (tree / "proto/baseline.binpb").unlink()
    assert run(tree, "check") == (
        1, "proto: proto/baseline.binpb is missing; run: git restore proto/baseline.binpb\n",
    )  # fmt: skip
    (tree / "node_modules").unlink()
    assert run(tree, "check") == (
        1, "proto: buf is missing from node_modules; run: make setup\n",
    )  # fmt: skip
    assert run(tree, "polish")[0] == 1


# --- what travels to a node ---

OPAQUE = "an id of ours, made without regard to the person"
OURS = "our own words, numbers, times or keys"
FROM_OWNER = "the owner's words about files and places, without which no file can be put there"

# Every field of every message that control sends to a node, and why it names nobody (law 11). A new
# field needs its line, and with it the question: could a name, an e-mail address, a network address
# or a payment datum stand in it?
TO_A_NODE = {
    OPAQUE: """
        OutboxPosition.epoch FactsAck.epoch
        Account.id Credential.id Credential.name Credential.account_id Credential.workflow_id
        Workflow.id Workflow.account_id Workflow.destination_ids Rule.destination_ids
        Destination.id Destination.account_id
        Denial.id Denial.subject Removal.id
        QuotaGrant.account_id Command.id Command.argument
    """,
    FROM_OWNER: """
        Credential.folder Condition.pattern
        Destination.address Destination.endpoint Destination.store_region
        Naming.pattern Naming.part_pattern
    """,
    OURS: """
        ConnectResponse.welcome ConnectResponse.delta ConnectResponse.snapshot
        ConnectResponse.facts_ack ConnectResponse.quota ConnectResponse.command
        ConnectResponse.echo
        Welcome.proto Welcome.heartbeat_interval_ms Welcome.credit Welcome.resume_from
        Welcome.desired Welcome.clock_ms
        OutboxPosition.sequence Desired.state Desired.remaining_ms
        Delta.from_version Delta.to_version Delta.nonce Delta.changes Delta.digest Delta.created_ms
        Change.remove Change.knob Change.account Change.credential Change.workflow
        Change.destination Change.ticket_key Change.region_key Change.denial Change.geo_table
        Removal.entity Digest.algorithm Digest.value
        SnapshotRef.version SnapshotRef.digest SnapshotRef.size_bytes SnapshotRef.nonce
        FactsAck.sequence FactsAck.resume_from
        QuotaGrant.meter QuotaGrant.amount QuotaGrant.expires_in_ms QuotaGrant.fence
        QuotaGrant.reason
        Command.kind Command.expires_in_ms
        HeartbeatEcho.t0_ms HeartbeatEcho.t1_ms HeartbeatEcho.t2_ms
        FetchSnapshotResponse.version FetchSnapshotResponse.offset FetchSnapshotResponse.part
        FetchSnapshotResponse.last
        Snapshot.version Snapshot.region Snapshot.created_ms Snapshot.knobs Snapshot.accounts
        Snapshot.credentials Snapshot.workflows Snapshot.destinations Snapshot.ticket_keys
        Snapshot.region_keys Snapshot.denials Snapshot.geo_table
        Knob.name Knob.value
        Account.state Account.limits Account.pin Account.epoch Account.name_key
        AccountLimits.upload_bytes_max AccountLimits.uploads_in_flight_max
        AccountLimits.connections_max AccountLimits.uploads_per_minute_max
        AccountLimits.first_slice_bytes AccountLimits.overdraft_bytes
        AccountLimits.unfinished_keep_ms AccountLimits.content_keep_ms
        PublicKey.kid PublicKey.suite PublicKey.public_key
        Credential.kind Credential.verifier Credential.pepper_kid Credential.not_after_ms
        Credential.require_tls Credential.epoch
        Workflow.version Workflow.rules Rule.conditions Rule.priority
        Condition.kind Condition.negated
        Destination.version Destination.kind Destination.naming Destination.secret
        Naming.clash Sealed.kid Sealed.ciphertext
        TicketKey.key TicketKey.not_before_ms TicketKey.not_after_ms TicketKey.region
        RegionKey.key RegionKey.use RegionKey.not_before_ms RegionKey.not_after_ms
        RegionKey.signature
        Denial.kind Denial.until_ms Denial.reason
        GeoTable.version GeoTable.digest GeoTable.size_bytes
        EnrollResponse.certificate RenewResponse.certificate
        Certificate.chain Certificate.roots Certificate.not_after_ms Certificate.renew_in_ms
    """,
}


def sent_to_nodes() -> Iterator[Any]:
    """Yield every message that a reply of control can hold; a snapshot travels as its bytes."""
    service = fleet_pb2.DESCRIPTOR.services_by_name["FleetService"]
    waiting: list[Any] = [method.output_type for method in service.methods]
    waiting.append(snapshot_pb2.Snapshot.DESCRIPTOR)
    seen: set[str] = set()
    while waiting:
        message = waiting.pop()
        if message.full_name not in seen:
            seen.add(message.full_name)
            yield message
            waiting += [field.message_type for field in message.fields if field.message_type]


def test_nothing_personal_is_in_any_message_to_a_node() -> None:
    allowed = [line for lines in TO_A_NODE.values() for line in lines.split()]
    fields = {
        f"{message.name}.{field.name}" for message in sent_to_nodes() for field in message.fields
    }
    assert len(allowed) == len(set(allowed))
    assert fields - set(allowed) == set(), "say in TO_A_NODE why it names nobody"
    assert set(allowed) - fields == set(), "no longer sent: remove the line"


PERSONAL = re.compile(
    r"e?mail|(first|last|full|user)_?name|phone|street|city|zip_|payment|card|iban|^ip_|_ip(_|$)"
)


def test_no_field_of_the_wire_is_named_for_a_person() -> None:
    named = [field.full_name for field in every_field() if PERSONAL.search(field.name)]
    assert named == []


def test_a_file_name_travels_only_sealed() -> None:
    assert facts_pb2.Outcome.DESCRIPTOR.fields_by_name["sealed_name"].message_type is (
        types_pb2.Sealed.DESCRIPTOR
    )
    texts = [f.name for f in facts_pb2.Outcome.DESCRIPTOR.fields if f.type == f.TYPE_STRING]
    assert all(name.endswith("_id") or name in ("id", "error") for name in texts)


# --- rules of the schema ---


def every_field() -> Iterator[Any]:
    for file in (facts_pb2, fleet_pb2, snapshot_pb2, types_pb2):
        for message in file.DESCRIPTOR.message_types_by_name.values():
            yield from message.fields


def test_times_and_sizes_are_whole_numbers() -> None:
    for field in every_field():
        assert field.type not in (field.TYPE_FLOAT, field.TYPE_DOUBLE), field.full_name
        if field.name.endswith("_ms"):
            assert field.type in (field.TYPE_INT64, field.TYPE_SINT64), field.full_name
        if field.name.endswith("_bytes"):
            assert field.type == field.TYPE_UINT64, field.full_name


def test_every_list_of_the_snapshot_has_its_word_for_a_removal_and_its_change() -> None:
    snapshot: Any = snapshot_pb2.Snapshot.DESCRIPTOR
    change: Any = snapshot_pb2.Change.DESCRIPTOR
    lists = {field.message_type.name for field in snapshot.fields if field.is_repeated}
    words = {value.name for value in snapshot_pb2.Entity.DESCRIPTOR.values}
    changes = {f.message_type.name for f in change.oneofs[0].fields}
    assert {"ENTITY_" + re.sub("(?<!^)([A-Z])", r"_\1", name).upper() for name in lists} == (
        words - {"ENTITY_UNSPECIFIED"}
    )
    assert lists == changes - {"Removal", "GeoTable"}


def grown(change: Callable[[descriptor_pb2.FileDescriptorProto], None]) -> Any:
    """Return Snapshot as a later release may have it: the schema, changed, in a pool of its own."""
    pool = descriptor_pool.DescriptorPool()
    for file in (types_pb2, snapshot_pb2):
        proto = descriptor_pb2.FileDescriptorProto()
        file.DESCRIPTOR.CopyToProto(proto)
        if file is snapshot_pb2:
            change(proto)
        pool.Add(proto)
    newer = pool.FindMessageTypeByName("zentransfer.v1.Snapshot")
    return message_factory.GetMessageClass(newer)


def test_an_older_node_gets_the_digest_of_a_newer_snapshot() -> None:
    """As snapshot.proto promises: a field that it does not know keeps its place in the bytes."""

    def with_new_fields(proto: descriptor_pb2.FileDescriptorProto) -> None:
        for message in proto.message_type:
            if message.name in ("Snapshot", "Account", "AccountLimits"):
                number = max(field.number for field in message.field) + 1
                message.field.add(name="novelty", number=number, type="TYPE_STRING", label=1)

    newer = grown(with_new_fields)(version=7)
    for n in range(3):
        account = newer.accounts.add(id=f"a{n}", novelty="x", epoch=n)
        account.limits.novelty = "y"
        account.limits.upload_bytes_max = n
    newer.novelty = "z"
    newer.geo_table.version = 3
    wire = newer.SerializeToString(deterministic=True)
    older = snapshot_pb2.Snapshot.FromString(wire)
    assert older.accounts[1].id == "a1"
    assert older.SerializeToString(deterministic=True) == wire
    older.accounts[1].epoch = 9
    newer.accounts[1].epoch = 9
    assert older.SerializeToString(deterministic=True) == newer.SerializeToString(
        deterministic=True
    )
