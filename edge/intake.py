"""One upload from its admission to its one end, the same for every door.

The rules: admitted before the first byte and asked again at the end; content, manifest, record and
outcome are durable **before** the door may say success (law 2); and whoever leaves the ``with``
without a commit has aborted: nothing of it ever looks whole (law 4).

An upload begins to exist with its first durable trace: its record, or its outcome.  A small one
has no record before its commit, so one that a crash cuts before never was; one that its sender
cuts is told all the same, because its owner wants to know.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final

from edge.admission import Admit, Load, Refuse, Request, admit, still_admitted
from edge.facts import Door, Outcome, OutcomeState, SealedName
from edge.names import below
from edge.outbox import Outbox
from edge.outcome import committed_outcome
from edge.pace import Patience
from edge.particulars import Fate, Particulars
from edge.pepper import PepperFile
from edge.pump import Pump, Source
from edge.record import Ending, UploadRecord
from edge.settling import Settling, Unborn, Unsettled
from edge.sinks.base import Fenced, Sink, SinkError
from edge.snapshot_file import SnapshotFile
from edge.upload import Upload
from zentransfer import log, sealed_name
from zentransfer.clock import Clock
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, IdMaker, Kind, RandomBytes, Region, UploadID
from zentransfer.limits import (
    OUTBOX_BYTES_MAX,
    SETTLE_PAUSE_S,
    UPLOADS_IN_FLIGHT_MAX,
    UPLOADS_UNSETTLED_MAX,
)
from zentransfer.sealed_name import FileName

_ROOM_FOR_S: Final = 1.0  # seconds: that a look at the disk serves; what is admitted is taken off


@dataclass(frozen=True, slots=True)
class Incoming:
    """What a door knows of an upload before its first byte.

    ``length`` in bytes if announced, ``digest`` the SHA-256 if announced; ``wants_digest`` asks
    for it without announcing one.  ``dialect`` is the door's word: it is continued in no other.
    """

    name: FileName
    door: Door
    dialect: str
    length: int | None = None
    media_type: str = ""
    content_encoding: str = ""
    digest: bytes | None = None
    wants_digest: bool = False


@dataclass(frozen=True, slots=True)
class Tools:
    """What an intake stands on.

    ``is_admitting`` says whether this process takes new uploads; ``free_bytes`` what its disk may
    take beside its reserve; ``taken_by`` names node and process, such as ``fr-1/ingest-0``.
    """

    region: Region
    taken_by: str
    sink: Sink
    outbox: Outbox
    settling: Settling
    snapshots: SnapshotFile
    pepper: PepperFile
    clock: Clock
    random_bytes: RandomBytes
    is_admitting: Callable[[], bool]
    free_bytes: Callable[[], int]
    in_flight_max: int = UPLOADS_IN_FLIGHT_MAX


class Intake:
    """All uploads that one process is taking."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self.ended = Counter[Code | OutcomeState]()
        """How uploads ended and why others were refused, since the start."""
        self.committed_bytes = 0
        self._taking: dict["Taking", None] = {}
        self._of_account = Counter[AccountID]()
        self._unsettled: dict[UploadID, Unsettled] = {}
        self._has_unsettled = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._room = 0
        self._room_until_s = float("-inf")
        self.new_id = IdMaker(tools.random_bytes).make

    @property
    def in_flight(self) -> int:
        """Return how many uploads are under way."""
        return len(self._taking)

    def take(self, request: Request) -> "Taking":
        """Return the upload that *request* may send, to be entered; raises ``Error`` if refused."""
        tools = self.tools
        snapshot = tools.snapshots.current
        kids = frozenset[str]() if snapshot is None else snapshot.pepper_kids
        decided = admit(snapshot, tools.pepper.maybe(kids), request, self._load())
        if isinstance(decided, Refuse):
            self.ended[decided.code] += 1
            raise decided.error()
        self._room -= request.length or 0
        return Taking(self, decided, request.length)

    async def until_idle(self) -> None:
        """Return when no upload is under way."""
        await self._is_idle.wait()

    def cut(self, code: Code) -> None:
        """End every upload that is under way as failed with *code*."""
        for taking in self._taking:
            taking.cut(code)

    async def mend(self) -> None:
        """Settle, again and again, what the disk would not let end; runs until cancelled."""
        while True:
            await self._has_unsettled.wait()
            await asyncio.sleep(SETTLE_PAUSE_S)
            for one in list(self._unsettled.values()):
                await self.settle(one)

    async def settle(self, one: Unsettled) -> Outcome | None:
        """Bring *one* to its end, or keep it for :meth:`mend`; returns its outcome if told now."""
        self._unsettled[one.upload] = one
        self._has_unsettled.set()
        try:
            outcome = await self.tools.settling.settle(one)
        except Error as failure:
            if isinstance(failure, SinkError) and not failure.temporary:
                log.error("upload.unsettled", failure, upload=one.upload)
                self._forget(one)
            return None
        self._forget(one)
        if outcome is not None:
            self._count(outcome)
        return outcome

    def left_open(self, one: Unsettled) -> None:
        """Keep *one*, whose end nobody can wait for now, for :meth:`mend`."""
        self._unsettled[one.upload] = one
        self._has_unsettled.set()

    async def tell(self, outcome: Outcome) -> None:
        """Make *outcome* durable; raises as :meth:`edge.settling.Settling.tell`."""
        await self.tools.settling.tell(outcome)
        self._count(outcome)

    def entered(self, taking: "Taking", account: AccountID) -> None:
        """Count *taking* as under way."""
        self._taking[taking] = None
        self._of_account[account] += 1
        self._is_idle.clear()

    def left(self, taking: "Taking", account: AccountID) -> None:
        """Count *taking* no more."""
        del self._taking[taking]
        self._of_account[account] -= 1
        if not self._of_account[account]:
            del self._of_account[account]
        if not self._taking:
            self._is_idle.set()

    # -- inside ----------------------------------------------------------------------------------

    def _forget(self, one: Unsettled) -> None:
        self._unsettled.pop(one.upload, None)
        if not self._unsettled:
            self._has_unsettled.clear()

    def _count(self, outcome: Outcome) -> None:
        self.ended[outcome.error or outcome.state] += 1
        if outcome.state is OutcomeState.COMMITTED:
            self.committed_bytes += outcome.size_bytes
        else:
            log.fact(
                "upload.aborted",
                upload=outcome.upload_id,
                reason=outcome.error,
                size_bytes=outcome.size_bytes,
            )

    def _load(self) -> Load:
        tools = self.tools
        return Load(
            is_admitting=tools.is_admitting(),
            in_flight=len(self._taking),
            in_flight_max=tools.in_flight_max,
            of_account=self._of_account,
            room_bytes=self._room_bytes(),
            outbox_room_bytes=OUTBOX_BYTES_MAX - tools.outbox.size_bytes,
        )

    def _room_bytes(self) -> int:
        """Return what the disk may still be promised, looked at once a second."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._room_until_s:
            self._room_until_s = now_s + _ROOM_FOR_S
            promised = sum(taking.promised for taking in self._taking)
            self._room = self.tools.free_bytes() - promised
        # Ends that the disk would not take are the sign that it takes nothing.
        return self._room if len(self._unsettled) < UPLOADS_UNSETTLED_MAX else 0


class Taking:
    """One admitted upload: enter it, ``begin``, ``receive``, ``commit``; else it is aborted."""

    def __init__(self, intake: Intake, admitted: Admit, length: int | None) -> None:
        self._intake = intake
        self._admitted = admitted
        self._length = length
        self._pump: Pump | None = None
        self._unborn: Unborn | None = None
        self._ended = False
        self._cut: Code | None = None
        self._outcome = intake.tools.settling.outcome_id()

    @property
    def promised(self) -> int:
        """Return how many announced bytes are still to come, in bytes."""
        return self._pump.upload.left if self._length is not None and self._pump else 0

    async def __aenter__(self) -> "Taking":
        """Count as under way."""
        self._intake.entered(self, self._admitted.account.id)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the upload if it has no end yet: failed, with the code of what was raised."""
        try:
            if not self._ended and self._unborn is not None:
                await self._abort(error)
        finally:
            if self._pump is not None:
                await self._pump.close()
            self._intake.left(self, self._admitted.account.id)

    async def begin(self, incoming: Incoming) -> UploadID:
        """Make the upload and its segment; returns its id.  Raises ``SinkError``."""
        tools, admitted = self._intake.tools, self._admitted
        upload = UploadID(self._intake.new_id(Kind.UPLOAD))
        account = admitted.account
        name = below(admitted.credential.folder, incoming.name)
        ciphertext = sealed_name.seal(account.name_key, account.id, upload, name)
        known = Particulars(
            name=name,
            taken_by=tools.taken_by,
            sealed_name=SealedName(account.name_kid, ciphertext),
            media_type=incoming.media_type,
            content_encoding=incoming.content_encoding,
            digest=incoming.digest,
        )
        names, kid = tools.settling.seal(upload, known)
        record = UploadRecord(
            upload=upload,
            account=account.id,
            region=tools.region,
            created_ms=tools.clock.now_ms(),
            door=incoming.door,
            dialect=incoming.dialect,
            credential=admitted.credential.id,
            length=incoming.length,
            names=names,
            names_kid=kid,
        )
        self._unborn = Unborn(record, known)
        has_digest = incoming.wants_digest or incoming.digest is not None
        claim = await tools.sink.create(record, lazily=True)
        self._pump = Pump(
            await claim.writer(),
            Upload(admitted.size_max, incoming.length),
            hashlib.sha256() if has_digest else None,
        )
        return upload

    async def receive(self, source: Source, patience: Patience) -> None:
        """Take all parts of *source*; raises as :meth:`edge.pump.Pump.run`."""
        assert self._pump is not None, "begin first"
        if self._cut is not None:
            raise Error(self._cut)
        await self._pump.run(source, patience)

    async def commit(self) -> Outcome:
        """Commit, and return the outcome when all of it is durable: then say success.

        The credential is checked again, and the workflow's newest version is stamped.  Raises
        ``Error``: what admission says now, CHECKSUM_MISMATCH for another digest than announced,
        and what the sink and the outbox raise; then the upload ends by leaving the ``with``.
        """
        assert self._pump is not None, "begin first"
        assert self._unborn is not None
        record, known = self._unborn.record, self._unborn.known
        if known.digest is not None and self._pump.digest() != known.digest:
            raise Error(Code.CHECKSUM_MISMATCH)
        ending = self._ending()
        try:
            size = await self._pump.finish(ending)
        except (SinkError, Fenced) as failure:
            outcome = await self._settled(failure.code)
            if outcome is None or outcome.state is not OutcomeState.COMMITTED:
                raise
            return outcome  # only the answer of the disk was lost
        outcome = committed_outcome(record, known, ending, size)
        await self._intake.tell(outcome)
        self._ended = True
        return outcome

    def digest(self) -> bytes | None:
        """Return the SHA-256 of what was received, if it was asked for."""
        return None if self._pump is None else self._pump.digest()

    def cut(self, code: Code) -> None:
        """End the receiving with ``Error(code)``; an upload that is being committed goes on."""
        self._cut = code
        if self._pump is not None:
            self._pump.cut(code)

    # -- inside ----------------------------------------------------------------------------------

    def _ending(self) -> Ending:
        tools = self._intake.tools
        snapshot, now_ms = tools.snapshots.current, tools.clock.now_ms()
        assert snapshot is not None, "a snapshot in force is replaced, never taken away"
        decided = still_admitted(snapshot, self._admitted, now_ms)
        if isinstance(decided, Refuse):
            raise decided.error()
        workflow = decided.workflow
        return Ending(workflow.id, workflow.version, now_ms, self._outcome)

    async def _abort(self, error: BaseException | None) -> None:
        """End as failed: at once if that can be waited for, else as soon as somebody can."""
        assert error is not None, "a door commits or raises"
        if isinstance(error, Error):
            await self._settled(error.code)
        else:  # cancelled, or our own fault: nothing more is awaited here
            self._intake.left_open(self._unsettled(Code.INTERNAL))

    async def _settled(self, code: Code) -> Outcome | None:
        if self._pump is not None:
            await self._pump.close()
        self._ended = True
        return await self._intake.settle(self._unsettled(code))

    def _unsettled(self, code: Code) -> Unsettled:
        assert self._unborn is not None
        return Unsettled(
            upload=self._unborn.record.upload,
            fate=Fate(OutcomeState.FAILED, code),
            outcome=self._outcome,
            ended_ms=self._intake.tools.clock.now_ms(),
            unborn=replace(self._unborn),
        )
