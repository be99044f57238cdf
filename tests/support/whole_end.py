"""The end of a history: everything comes to rest, and every promise must have come true."""

from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from control.billing.ledger import Unit
from control.billing.usage import usage_account
from control.tables import delivery, outcome, posting, receipt
from edge.audit import keyed_id, stored_lines
from edge.audit_chain import ChainBroken, verify
from edge.record import State
from edge.sinks.base import SinkError, UnknownUpload
from edge.workflow.store import DiskRunStore
from tests.support.whole_client import Put, Resumed
from tests.support.whole_model import Violation
from tests.support.whole_node import DELIVERIES, INGESTS
from zentransfer.errors import Code
from zentransfer.ids import UploadID

if TYPE_CHECKING:
    from tests.support.whole import Whole

REST_S = 3_000  # seconds: a dead link, two dials; a closed destination is asked again; back-offs
LOOK_S = 5.0


class Ending:
    """The judge of one history."""

    def __init__(self, whole: "Whole") -> None:
        self._whole = whole
        self._model = whole.model
        self._node = whole.node
        self._control = whole.control

    async def hold(self) -> None:
        """Let all come to rest, then judge; raises ``Violation``, or notes it in the model."""
        await self._finish_resumed()
        await self._serve_again()
        await self._restart_alone()
        await self._until_quiet()
        await self._judge_control()
        await self._judge_sink()
        self._judge_audit()

    # --- coming to rest

    async def _finish_resumed(self) -> None:
        """Every client that goes on comes to its end now that nothing fails (law 1)."""
        for one in self._whole.resumed:
            for _ in range(20):
                if one.is_over or self._model.broken:
                    break
                await self._whole.pass_time(1)
                await self._go_on(one)
            if not one.is_over and not self._model.broken:
                raise Violation("a file cannot be gone on with")

    async def _go_on(self, one: Resumed) -> None:
        lives = self._node.ingests()
        if lives:
            await one.attach(self._whole.random.choice(lives))
            await one.append(flushes=True)
            await one.finish()
        else:
            self._whole.start_all()

    async def _serve_again(self) -> None:
        """Within a while every snapshot is the newest, and admission says what it says."""
        await self._until(self._is_current, "the newest snapshot does not arrive")
        whole, before = self._whole, len(self._model.sent)
        good = next(iter(self._control.shown.values()))
        whole.put(100, "LAST_1.JPG", lambda _: Put(good))
        if self._control.revoked:
            revoked = Put(next(iter(self._control.revoked.values())))
            whole.put(100, "LAST_2.JPG", lambda _: revoked)
        await whole.pass_time(5)
        accepted, *refused = self._model.sent[before:]
        self._model.hold(accepted.is_acked, "a healed node takes nothing")
        for one in refused:
            self._model.hold(one.reply is Code.UNAUTHENTICATED, "a revoked credential is good")

    async def _restart_alone(self) -> None:
        """Start ingest anew, one process first: it may sweep what no record says whose it is."""
        for name in INGESTS:
            await self._node.kill(name)
        self._node.start(INGESTS[0])
        await self._whole.pass_time(5)
        self._whole.start_all()
        await self._whole.pass_time(1)

    async def _until_quiet(self) -> None:
        try:
            await self._until(self._is_quiet, "the work never ends")
        except Violation:
            self._judge_acked()
            raise

    def _judge_acked(self) -> None:
        """Say which promise it is that cannot be kept, where a client's own is broken."""
        for one in self._model.sent:
            if one.is_acked and one.upload is not None and one.upload not in self._model.cancelled:
                places = map(self._whole.places.place, self._control.destinations)
                is_there = any(one.content in place.objects.values() for place in places)
                if not is_there:
                    raise Violation("an acknowledged byte is lost: nothing was delivered")

    async def _until(self, holds: Any, promise: str) -> None:
        for _ in range(round(REST_S / LOOK_S)):
            if await holds():
                return
            self._whole.start_all()
            await self._whole.pass_time(LOOK_S)
        raise Violation(promise)

    async def _is_current(self) -> bool:
        lives = [*self._node.ingests(), *self._node.deliveries()]
        return len(lives) == len((*INGESTS, *DELIVERIES)) and all(
            self._control.is_newest(one.snapshots.current) for one in lives
        )

    async def _is_quiet(self) -> bool:
        """Say whether nothing is left to be delivered, destroyed or told."""
        lives = [*self._node.ingests(), *self._node.deliveries()]
        if len(lives) < len((*INGESTS, *DELIVERIES)) or not all(one.is_told for one in lives):
            return False
        if [one async for one in DiskRunStore(self._node.disk).uploads()]:
            return False
        states = await self._states()
        return all(state is State.DESTROYED for state in states.values())

    async def _states(self) -> dict[UploadID, State | None]:
        sink, found = self._sink(), dict[UploadID, State | None]()
        async for upload in sink.uploads():
            try:
                found[upload] = (await sink.record(upload)).value.state
            except (UnknownUpload, SinkError):
                found[upload] = None
        return found

    def _sink(self) -> Any:
        return self._node.ingests()[0].sink

    # --- judging

    async def _judge_control(self) -> None:
        outcomes = {row["upload_id"]: row for row in await self._control.rows(outcome)}
        deliveries = await self._control.rows(delivery)
        receipts = {row["upload_id"]: row for row in await self._control.rows(receipt)}
        aside = await self._control.books.aside()
        self._model.hold(not aside, f"facts were set aside: {[one.reason for one in aside]}")
        for one in self._model.sent:
            if one.is_acked:
                row = outcomes.get(str(one.upload))
                is_there = row is not None and row["state"] == "committed"
                self._model.hold(is_there, "an acknowledged upload has no outcome")
        for upload, row in outcomes.items():
            of = self._model.of_upload(upload)
            if row["state"] != "committed":
                self._model.hold(of is None or not of.is_acked, "success was taken back")
                self._judge_unfinished(row, receipts.get(upload))
                continue
            self._model.hold(of is not None and of.is_whole, "a part has the outcome of a whole")
            if of is not None:
                self._model.hold(row["size_bytes"] == len(of.content), "an outcome tells a lie")
            own = [one for one in deliveries if one["upload_id"] == upload]
            self._judge_upload(UploadID(upload), row, own, receipts.get(upload))
        for upload in receipts.keys() - outcomes.keys():
            self._model.hold(False, f"a receipt without an outcome: {upload}")
        self._judge_receiving(outcomes)
        await self._judge_ledger(outcomes)
        self._judge_places(outcomes, deliveries)

    def _judge_unfinished(self, row: Mapping[str, Any], gone: Mapping[str, Any] | None) -> None:
        """Hold what never was whole to its end: gone, told once, and unsigned."""
        is_told = (gone is not None) != (row["destroyed_ms"] is not None)
        self._model.hold(is_told, "a part is not told to be gone, or twice")
        if gone is not None:
            is_so = gone["reason"] == "unfinished" and gone["signature"] is None
            self._model.hold(is_so, "a part has the receipt of a whole")

    def _judge_receiving(self, outcomes: Mapping[str, Mapping[str, Any]]) -> None:
        """Hold what control still shows as coming to nothing: all of it has ended."""
        life = self._control.life
        assert life is not None
        shown = life.receiving.newest(self._control.books.owner.id, 10_000, None)
        left = [one for one in shown if one.upload_id not in outcomes]
        self._model.hold(not left, "an upload is shown as coming for ever")

    def _judge_upload(
        self,
        upload: UploadID,
        row: Mapping[str, Any],
        deliveries: list[Mapping[str, Any]],
        gone: Mapping[str, Any] | None,
    ) -> None:
        """Hold a committed upload to its deliveries and its receipt."""
        hold = self._model.hold
        hold(gone is not None, "content is gone without a receipt")
        wanted = self._model.versions[row["workflow_version"]]
        done = [one for one in deliveries if one["state"] == "delivered"]
        if of := self._model.of_upload(upload):
            told = {one["digest"] for one in done} | {row["digest"]}
            hold(told <= {None, sha256(of.content).digest()}, "a digest of other content is told")
        hold({one["destination_id"] for one in deliveries} <= wanted, "delivered to a stranger")
        if self._model.must_be_there(upload):
            reached = sorted(one["destination_id"] for one in done)
            hold(reached == sorted(wanted), "not delivered once to each destination")
            hold(gone is None or gone["reason"] == "delivered", "destroyed before delivered")

    def _judge_places(
        self, outcomes: Mapping[str, Mapping[str, Any]], deliveries: list[Mapping[str, Any]]
    ) -> None:
        """Hold the destinations to what was delivered, byte for byte."""
        done = {(d["upload_id"], d["destination_id"]) for d in deliveries if _is_done(d)}
        for which in self._control.destinations:
            shown = Counter(self._whole.places.place(which).objects.values())
            for upload, row in outcomes.items():
                of = self._model.of_upload(upload)
                if of is None or row["state"] != "committed" or (upload, which) not in done:
                    continue
                times = shown[of.content]
                self._model.hold(times > 0, "a delivered object is not there")
                self._model.hold(times < 2 or not of.content, "an object was delivered twice")
            failed = {
                of.content
                for upload, row in outcomes.items()
                if row["state"] != "committed" and (of := self._model.of_upload(upload))
            }
            self._model.hold(not failed & shown.keys() - {b""}, "what failed was delivered")

    async def _judge_ledger(self, outcomes: Mapping[str, Mapping[str, Any]]) -> None:
        """Hold the ledger to the bytes (law 6)."""
        committed = [row["size_bytes"] for row in outcomes.values() if row["state"] == "committed"]
        books = self._control.books
        async with books.database.read() as uow:
            balance = await uow.ledger.balance(usage_account(books.owner.id))
        self._model.hold(balance[Unit.BYTE] == sum(committed), "the ledger is not the bytes")
        self._model.hold(balance[Unit.FILE] == len(committed), "the ledger is not the files")
        sums = Counter[str]()
        for row in await self._control.rows(posting):
            sums[row["unit"]] += row["debit"] - row["credit"]
        self._model.hold(not any(sums.values()), "the postings do not balance")

    async def _judge_sink(self) -> None:
        """Hold the sink to its emptiness: tombstones, and nothing sealed."""
        sink, disk = self._sink(), self._node.disk
        async for upload in sink.uploads():
            record = (await sink.record(upload)).value
            names = disk.names(f"uploads/{upload[3:5]}/{upload}")
            is_gone = not record.names and not record.segments and names == ["record"]
            self._model.hold(is_gone, "something sealed is left")

    def _judge_audit(self) -> None:
        """Hold the chains to every use of a key and every destruction."""
        lines: list[bytes] = []
        for name in DELIVERIES:
            found = stored_lines(self._node.disk, f"audit/{name}")
            try:
                verify(found)
            except ChainBroken as broken:
                self._model.hold(False, f"the audit chain is broken: {broken}")
            lines += found
        text = b"\n".join(lines)
        for keyed in self._node.uses:
            self._model.hold(keyed.encode() in text, "a key was used without an audit record")
        for one in self._model.sent:
            if one.is_acked and one.upload is not None:
                keyed = keyed_id(self._node.keys.public, one.upload)
                gone = [f'"upload":"{keyed}"'.encode() in each for each in lines]
                self._model.hold(any(gone), "content is gone and the chain does not say so")


def _is_done(row: Mapping[str, Any]) -> bool:
    return bool(row["state"] == "delivered")
