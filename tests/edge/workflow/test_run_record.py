from dataclasses import replace

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types
import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from edge.audit_chain import Head
from edge.facts import DeletionReason, DeliveryState
from edge.seal.packing import Malformed
from edge.workflow.run import Delivery, Gone, Lease, Run, RunState
from edge.workflow.run_record import pack_run, read_run
from tests.support.delivery_site import ACCOUNT, WORKFLOW
from zentransfer.errors import Code
from zentransfer.ids import DeliveryID, DestinationID, RunID, UploadID
from zentransfer.limits import (
    REMOTE_REF_CHARS_MAX,
    RUN_RECORD_BYTES_MAX,
    WORKFLOW_DESTINATIONS_MAX,
)

NUMBERS = st.integers(0, 2**62)
WORDS = st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=29)
LEASES = st.builds(Lease, WORDS, WORDS, NUMBERS)
DELIVERIES = st.builds(
    Delivery,
    id=WORDS.map(DeliveryID),
    destination=WORDS.map(DestinationID),
    state=st.sampled_from(DeliveryState),
    attempt=NUMBERS,
    fence=NUMBERS,
    due_ms=NUMBERS,
    lease=LEASES,
    error=st.none() | st.sampled_from(Code),
    ref=st.text(max_size=20),
    size_bytes=NUMBERS,
    changes=NUMBERS,
    changed_ms=NUMBERS,
    told=NUMBERS,
)
HASHES = st.binary(min_size=32, max_size=32)
GONE = st.builds(
    Gone,
    NUMBERS,
    NUMBERS,
    st.builds(Head, NUMBERS, HASHES),
    signature=st.just(b"") | st.binary(min_size=64, max_size=64),
    root_key=st.just(b"") | HASHES,
)
RUNS = st.builds(
    Run,
    id=WORDS.map(RunID),
    upload=WORDS.map(UploadID),
    account=st.just(ACCOUNT),
    workflow=st.none() | st.just(WORKFLOW),
    workflow_version=NUMBERS,
    size_bytes=NUMBERS,
    created_ms=NUMBERS,
    keep_until_ms=NUMBERS,
    deliveries=st.lists(DELIVERIES, max_size=3).map(tuple),
    is_kept=st.booleans(),
    is_urgent=st.booleans(),
    state=st.sampled_from(RunState),
    reason=st.none() | st.sampled_from(DeletionReason),
    fence=NUMBERS,
    lease=LEASES,
    gone=st.none() | GONE,
)


@given(RUNS, st.integers(1, 10**9))
def test_a_run_is_read_as_it_was_written(run: Run, version: int) -> None:
    assert read_run(pack_run(run, version)) == (run, version)


@given(RUNS, GONE)
def test_a_record_that_holds_no_signature_is_read_without_one(run: Run, gone: Gone) -> None:
    stored = pack_run(replace(run, gone=gone), 3)
    fields = msgpack.unpackb(stored[6:-4])
    fields["gone"] = [fields["gone"][0][:4]]  # as it was written before signatures were kept
    older = stored[:6] + msgpack.packb(fields)
    bare = Gone(gone.keys_destroyed_ms, gone.removed_ms, gone.audit)
    assert read_run(older + crc32c(older).to_bytes(4)) == (replace(run, gone=bare), 3)


@given(RUNS, st.data())
def test_a_flipped_bit_or_a_cut_is_noticed(run: Run, data: st.DataObject) -> None:
    stored = bytearray(pack_run(run, 1))
    place = data.draw(st.integers(0, len(stored) - 1))
    with pytest.raises(Malformed):
        read_run(bytes(stored[:place]))
    stored[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Malformed):
        read_run(bytes(stored))


@pytest.mark.reaches("RUN_RECORD_BYTES_MAX", "REMOTE_REF_CHARS_MAX")
def test_the_largest_run_fits_and_a_longer_reference_is_none() -> None:
    longest = Delivery(
        DeliveryID("d" * 29),
        DestinationID("d" * 29),
        lease=Lease("p" * 40, "l" * 29, 2**62),
        attempt=2**62,
        fence=2**62,
        due_ms=2**62,
        error=Code.INSUFFICIENT_STORAGE,
        ref="\U0001f4f7" * REMOTE_REF_CHARS_MAX,
        size_bytes=2**62,
        changes=2**62,
        changed_ms=2**62,
        told=2**62,
    )
    run = Run(
        RunID("r" * 29),
        UploadID("u" * 29),
        ACCOUNT,
        WORKFLOW,
        2**62,
        2**62,
        2**62,
        2**62,
        (longest,) * WORKFLOW_DESTINATIONS_MAX,
        gone=Gone(2**62, 2**62, Head(2**62, bytes(32)), bytes(64), bytes(32)),
    )
    stored = pack_run(run, 2**62)
    assert RUN_RECORD_BYTES_MAX / 2 < len(stored) <= RUN_RECORD_BYTES_MAX
    assert read_run(stored)[0] == run
    longer = replace(longest, ref="x" * (REMOTE_REF_CHARS_MAX + 1))
    with pytest.raises(Malformed):
        read_run(pack_run(replace(run, deliveries=(longer,)), 1))
    far_too_long = replace(longest, ref=longest.ref * 4)
    with pytest.raises(AssertionError):
        pack_run(replace(run, deliveries=(far_too_long,) * 20), 1)


def test_no_name_of_a_file_stands_in_a_run() -> None:
    names = {field for kind in (Run, Delivery) for field in kind.__dataclass_fields__}
    assert not names & {"name", "names", "folder", "path"}
