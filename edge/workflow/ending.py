"""The end of a run: its content destroyed, its receipt told, its record forgotten.

The rule: every step finds out by itself what is left to do, so that a crash anywhere is mended by
going through all of them again; and what is told twice is the same, so that it counts once.
"""

from dataclasses import replace

from edge import outcome
from edge.audit import keyed_id
from edge.audit_chain import Destruction, Head
from edge.facts import of_outcome
from edge.partials import destroy
from edge.record import State
from edge.sinks.base import Damaged, UnknownUpload
from edge.workflow.index import Index
from edge.workflow.receipt import receipt_fact, receipt_of, sign
from edge.workflow.run import Gone, Run, RunState
from edge.workflow.site import Site
from zentransfer import log
from zentransfer.ids import UploadID


async def end(site: Site, index: Index, upload: UploadID) -> bool:
    """End the run of *upload*, which is not open any more; returns whether it is over.

    Raises ``NotDue`` while another process ends it, ``LeaseLost``, ``Conflict``, ``UnknownRun``,
    and ``Error`` when a disk fails: then it is to be tried again.
    """
    lease_ms = int(site.timing.lease_s * 1_000)
    run = await index.change(
        upload, lambda run: run.erasing(site.me, site.clock.now_ms(), lease_ms)
    )
    if not await index.tell(upload):
        return False
    if run.state is RunState.ERASABLE:
        run = await _erased(site, index, run)
    await site.tell(receipt_fact(run, site.region.region))
    await index.remove(upload)
    log.fact("content.destroyed", upload=upload, reason=run.reason, bytes=run.size_bytes)
    return True


async def _erased(site: Site, index: Index, run: Run) -> Run:
    """Destroy the content, sign for it on the audit chain, and write it down."""
    await _tell_outcome(site, run.upload)
    await destroy(site.sink, run.upload)
    now_ms = site.clock.now_ms()
    root_key = site.root.public_key().public_bytes_raw()
    gone = Gone(keys_destroyed_ms=now_ms, removed_ms=now_ms, root_key=root_key)

    def destruction(head: Head) -> Destruction:
        nonlocal gone
        gone = replace(gone, audit=head)
        signature = sign(receipt_of(run, site.region.region, gone), site.root)
        gone = replace(gone, signature=signature)
        return Destruction(
            at_ms=now_ms,
            process=site.me.process,
            run=run.id,
            upload=keyed_id(site.region, run.upload),
            reason=str(run.reason),
            signature=signature.hex(),
        )

    await site.audit.add(destruction)
    return await index.change(run.upload, lambda now: now.erased(run.fence, gone))


async def _tell_outcome(site: Site, upload: UploadID) -> None:
    """Tell the upload's outcome once more, before what it is made from goes.

    Ingest may have died between the commit and its own outbox; told twice it is the same.
    """
    try:
        record = (await site.sink.record(upload)).value
        if record.state is not State.COMMITTED:
            return
        found = outcome.maybe_outcome(record, site.particulars(record))
    except (UnknownUpload, Damaged):
        return  # nobody can tell it any more
    if found is not None:
        await site.tell(of_outcome(found))
