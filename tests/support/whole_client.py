"""Clients of a node: those that put whole files, and those that go on where they were cut."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from random import Random

from edge.admission import Request
from edge.facts import Door, OutcomeState
from edge.incoming import Incoming
from edge.outcome import committed_outcome
from edge.pace import Patience
from edge.particulars import Fate, Particulars
from edge.record import Ending, State, UploadRecord, WrongState
from edge.settling import Unsettled
from edge.sinks.base import Ended, Fenced, SinkError, UnknownUpload
from edge.sinks.log_writer import LogWriter
from edge.snapshot import CredentialKind
from tests.support.whole_model import Model, Sent
from tests.support.whole_node import IngestLife
from tests.support.writing import fill
from zentransfer.credential import Shown
from zentransfer.errors import Code, Error
from zentransfer.ids import Kind, OutcomeID, UploadID
from zentransfer.sealed_name import FileName

RESUMABLE = "resumable"  # a dialect whose uploads are gone on with, so no sweep ends them
REFUSALS = (SinkError, Fenced, WrongState, TimeoutError)
STEP_S = 20.0  # seconds: that a client waits for one answer


class Body:
    """A body on its way: in pieces, with pauses; it ends cleanly, or breaks off."""

    def __init__(self, sent: Sent, random: Random, *, keeps: float, pause_s: float) -> None:
        self._sent = sent
        self._is_cut = keeps < 1
        data = sent.content[: int(len(sent.content) * keeps)]
        size = random.choice((700, 9_000, 60_000))
        self._pieces = [data[at : at + size] for at in range(0, len(data), size)]
        self._pause_s = pause_s

    async def readany(self) -> bytes:
        await asyncio.sleep(self._pause_s)
        if self._pieces:
            return self._pieces.pop(0)
        if self._is_cut:
            raise Error(Code.PEER_GONE)
        self._sent.is_whole = True
        return b""


@dataclass(frozen=True)
class Put:
    """How one file is put: what is announced of it, and how much of it comes."""

    shown: Shown
    keeps: float = 1.0
    pause_s: float = 0.0
    says_length: bool = False
    digest: bytes | None = None
    """The SHA-256 that is announced; a wrong one lets the upload fail."""

    @classmethod
    def drawn(cls, shown: Shown, content: bytes, random: Random) -> "Put":
        """Return one of the many ways to put *content*."""
        right = sha256(content).digest()
        digest = random.choice((None, None, None, right, right, bytes(32)))
        keeps = random.choice((1.0, 1.0, 1.0, 1.0, random.random() * 0.99))
        pause_s = random.choice((0.0, 0.01, 2.0))
        return cls(shown, keeps, pause_s, random.random() < 0.5, digest)


async def put(life: IngestLife, model: Model, sent: Sent, how: Put) -> None:
    """Put a file at *life* as the door does, and let the model know what the client hears."""
    length = len(sent.content) if how.says_length else None
    now_ms = life.node.clock.now_ms()
    body = Body(sent, life.node.random, keeps=how.keeps, pause_s=how.pause_s)
    name = FileName("", sent.name)
    incoming = Incoming(name, Door.HTTP, "plain", length, digest=how.digest)
    try:
        asked = Request(how.shown, CredentialKind.API, length, is_tls=False, now_ms=now_ms)
        async with life.intake.take(asked) as taking:
            sent.upload = await taking.begin(incoming)
            await taking.receive(body, Patience())
            outcome = await taking.commit()
    except Error as refusal:
        sent.reply = refusal.code
        model.trace.append(f"{sent.name} {refusal.code}")
    else:
        if life.is_serving:
            right = how.digest in (None, sha256(sent.content).digest())
            model.hold(right, "another digest was acknowledged than was announced")
            model.acked(sent, outcome.upload_id, outcome.size_bytes)
            model.trace.append(f"{sent.name} 201 {outcome.upload_id}")


@dataclass(eq=False)
class Session:
    """One connection of a client that goes on: the segment that it writes at one process."""

    life: IngestLife
    writer: LogWriter
    doubtful: bool = False  # a claim failed since: it may have been shut out, or not

    @property
    def is_alive(self) -> bool:
        """Whether its process still serves."""
        return self.life.is_serving


class Resumed:
    """A file sent in pieces, over one connection after the other; the newest one counts.

    Older connections go on as zombies: what they send is not the file, and must not count.
    """

    def __init__(self, model: Model, sent: Sent, random: Random) -> None:
        self.sent = sent
        self.active: Session | None = None
        self.zombies: list[Session] = []
        self.is_over = False
        self._model = model
        self._random = random
        self._record: UploadRecord | None = None
        self._known: Particulars | None = None

    @property
    def written(self) -> int:
        """How much of the file the newest connection has sent."""
        return 0 if self.active is None else self.active.writer.written

    async def begin(self, life: IngestLife) -> None:
        """Make the upload; its client knows of it then."""
        node, account = life.node, life.snapshots.current
        if account is None:
            return
        upload = UploadID(node.ids.make(Kind.UPLOAD))
        entry = next(iter(account.names.values()), None)
        if entry is None:
            return
        known = Particulars(FileName("", self.sent.name), taken_by=life.full_name)
        names, kid = life.settling.seal(upload, known)
        record = UploadRecord(
            upload,
            entry.account_id,
            node.keys.region,
            node.clock.now_ms(),
            door=Door.HTTP,
            dialect=RESUMABLE,
            credential=entry.id,
            names=names,
            names_kid=kid,
        )
        try:
            async with asyncio.timeout(STEP_S):
                writer = await (await life.sink.create(record)).writer()
        except REFUSALS:
            return
        self.sent.upload, self._record, self._known = upload, record, known
        self.active = Session(life, writer)

    async def attach(self, life: IngestLife) -> None:
        """Connect anew at *life*: claim, and go on from the offset that is told."""
        if self._record is None:
            await self.begin(life)
            return
        upload = self._record.upload
        try:
            async with asyncio.timeout(STEP_S):
                claim = await life.sink.claim(upload)
        except Ended as ended:
            await self._ended(life, ended.record)
        except UnknownUpload:
            self._model.hold(False, "an upload that its client was told of is gone")
            self.is_over = True
        except SinkError as failed:
            self._model.hold(failed.temporary, f"an acknowledged byte is lost: {failed.code}")
            self._doubt()
        except (Fenced, TimeoutError):
            self._doubt()
        else:
            self._model.claimed(self.sent, claim.offset)
            self._lose()
            with suppress(*REFUSALS):
                self.active = Session(life, await claim.writer())

    async def append(self, *, flushes: bool) -> None:
        """Send the next piece, and perhaps wait until an offset is told."""
        session, content = self.active, self.sent.content
        if session is None:
            return
        at = session.writer.written
        piece = content[at : at + self._random.choice((1, 900, 20_000, 40_000))]
        try:
            fill(session.writer, piece)
            if flushes:
                async with asyncio.timeout(STEP_S):
                    told = await session.writer.flush(mark=self._random.random() < 0.5)
                self._model.claimed(self.sent, told)
        except REFUSALS as refused:
            self._refused(session, refused)

    async def finish(self) -> None:
        """Send what is left, and commit."""
        session, record, known = self.active, self._record, self._known
        if session is None or record is None or known is None:
            return
        ending = self._maybe_ending(session.life)
        if ending is None:
            return
        self.sent.is_whole = True
        try:
            fill(session.writer, self.sent.content[session.writer.written :])
            async with asyncio.timeout(STEP_S):
                manifest = await session.writer.finish(None, ending)
                outcome = committed_outcome(record, known, ending, manifest.total)
                await session.life.settling.tell(outcome)
        except REFUSALS as refused:
            self._refused(session, refused)
        except Error:
            self._lose()  # the outbox would not take it: the next connection tells it again
        else:
            if session.life.is_serving:
                self._acked(record.upload, manifest.total)

    async def zombie_acts(self) -> None:
        """An older connection wakes up, sends something else, and must not be believed."""
        self.zombies = [one for one in self.zombies if one.is_alive]
        if not self.zombies or self.is_over:
            return
        zombie = self._random.choice(self.zombies)
        commits = self._random.random() < 0.4
        ending = self._maybe_ending(zombie.life) if commits else None
        try:
            fill(zombie.writer, self._random.randbytes(self._random.choice((1, 5_000))))
            async with asyncio.timeout(STEP_S):
                if ending is None:
                    await zombie.writer.flush(mark=self._random.random() < 0.5)
                else:
                    await zombie.writer.finish(None, ending)
        except REFUSALS:
            self.zombies.remove(zombie)
        else:
            did = "told an offset" if ending is None else "committed"
            self._model.hold(False, f"a connection that was shut out {did}")

    # --- inside

    async def _ended(self, life: IngestLife, record: UploadRecord) -> None:
        """The upload has ended: success, if it was committed and that is told."""
        self._lose()
        if record.state is not State.COMMITTED:
            was_told = self.sent.is_acked or record.state is not State.DAMAGED
            self._model.hold(was_told, "an acknowledged byte is lost: damaged")
            self.is_over = True
            return
        unsettled = Unsettled(
            record.upload,
            Fate(OutcomeState.FAILED, Code.INTERNAL),
            life.settling.outcome_id(),
            life.node.clock.now_ms(),
        )
        with suppress(Error, TimeoutError):
            async with asyncio.timeout(STEP_S):
                outcome = await life.settling.settle(unsettled)
            if outcome is not None and life.is_serving:
                self._acked(outcome.upload_id, outcome.size_bytes)
            elif outcome is None:
                self.is_over = True  # delivered and gone already

    def _acked(self, upload: UploadID, size: int) -> None:
        self._model.acked(self.sent, upload, size)
        self._model.trace.append(f"{self.sent.name} resumed 201 {upload}")
        self.is_over = True

    def _maybe_ending(self, life: IngestLife) -> Ending | None:
        snapshot, node = life.snapshots.current, life.node
        entry = next(iter(snapshot.names.values()), None) if snapshot is not None else None
        if snapshot is None or entry is None:
            return None
        workflow = snapshot.maybe_workflow(entry.workflow_id)
        assert workflow is not None
        outcome = OutcomeID(node.ids.make(Kind.OUTCOME))
        return Ending(workflow.id, workflow.version, node.clock.now_ms(), outcome)

    def _refused(self, session: Session, refused: BaseException) -> None:
        is_fenced = isinstance(refused, Fenced | WrongState)
        self._model.hold(
            not is_fenced or session.doubtful or not session.life.is_serving,
            "the rightful connection was shut out",
        )
        self._lose()

    def _doubt(self) -> None:
        if self.active is not None:
            self.active.doubtful = True

    def _lose(self) -> None:
        if self.active is not None:
            self.zombies.append(replace(self.active))
            self.active = None
