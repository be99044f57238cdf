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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final

from edge.admission import Admit, Load, Refuse, Request, admit, admit_again, still_admitted
from edge.begun import Begun, Receiving, receiving
from edge.checks import Check
from edge.facts import Outcome, OutcomeState, SealedName
from edge.incoming import Incoming
from edge.mending import Mending
from edge.names import below
from edge.outbox import Outbox
from edge.outcome import committed_outcome
from edge.pace import Patience
from edge.particulars import Fate, Particulars
from edge.pump import Pump, Source
from edge.record import Ending, UploadRecord
from edge.room import Unpromised
from edge.settling import Settling, Unborn, Unsettled
from edge.sinks.base import NOTHING, Fenced, Partial, Sink, SinkError
from edge.snapshot import Snapshot
from edge.snapshot_file import SnapshotFile
from edge.upload import Upload
from zentransfer import sealed_name
from zentransfer.clock import Clock
from zentransfer.credential import Pepper
from zentransfer.errors import Code, Error
from zentransfer.ids import AccountID, IdMaker, Kind, RandomBytes, Region, UploadID
from zentransfer.limits import (
    OUTBOX_BYTES_MAX,
    UPLOADS_IN_FLIGHT_MAX,
    UPLOADS_UNSETTLED_MAX,
)

_ROOM_FOR_S: Final = 1.0  # seconds: that a look at the disk serves; what is admitted is taken off


@dataclass(frozen=True, slots=True)
class Tools:
    """What an intake stands on.

    ``taken_by`` names node and process, such as ``fr-1/ingest-0``.  ``pepper`` gives that of the
    region, best one of some kids; ``is_admitting`` says whether this process takes new uploads,
    ``free_bytes`` what its disk may take beside its reserve.
    """

    region: Region
    taken_by: str
    sink: Sink
    outbox: Outbox
    settling: Settling
    snapshots: SnapshotFile
    pepper: Callable[[frozenset[str]], Pepper | None]
    clock: Clock
    random_bytes: RandomBytes
    is_admitting: Callable[[], bool]
    free_bytes: Callable[[], int]
    in_flight_max: int = UPLOADS_IN_FLIGHT_MAX
    lag_s: Callable[[], float] = float  # of the loop, in seconds; none where nobody looks


class Intake(Mending):
    """All uploads that one process is taking."""

    def __init__(self, tools: Tools) -> None:
        super().__init__(tools.settling)
        self.tools = tools
        self._taking: dict[Taking, None] = {}
        self.of_account = Counter[AccountID]()
        """How many uploads each account has under way here."""
        self.elsewhere: Callable[[AccountID], int] = lambda _: 0
        """Says how many of an account's are under way at the region's other processes."""
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._room = 0
        self._room_until_s = float("-inf")
        self.new_id = IdMaker(tools.random_bytes).make
        self.begun = Begun(tools.sink, tools.settling.open, tools.clock, lambda: self._taking)

    @property
    def in_flight(self) -> int:
        """Return how many uploads are under way."""
        return len(self._taking)

    def take(self, request: Request) -> "Taking":
        """Return the upload that *request* may send, to be entered; raises ``Error`` if refused."""
        return Taking(self, self.admitted(request), request.length)

    def admitted(self, request: Request, *, begins: bool = True) -> Admit:
        """Return what *request* may do, which *begins* or only asks; raises ``Error`` if not so."""
        snapshot, pepper = self._known()
        decided = self._heard(admit(snapshot, pepper, request, self._load()))
        self._room -= (request.length or 0) if begins else 0
        return decided

    def admitted_again(self, request: Request, *, adds: bool, spared: "Taking | None") -> Admit:
        """Return what *request* for an upload of before may do; raises ``Error`` if refused.

        *adds* as of :func:`edge.admission.admit_again`; *spared* is an upload's running request
        that this one shall end, and that needs no place beside it.
        """
        snapshot, pepper = self._known()
        load = self._load() if spared is None else self._load().without(spared.account)
        decided = self._heard(admit_again(snapshot, pepper, request, load, adds=adds))
        self._room -= request.length or 0
        return decided

    def has_room(self) -> bool:
        """Say whether an upload to which no room was promised may go on."""
        return self.tools.free_bytes() > 0 and self._room_bytes() > 0

    async def until_idle(self) -> None:
        """Return when no upload is under way."""
        await self._is_idle.wait()

    def cut(self, code: Code) -> None:
        """End every upload that is under way as failed with *code*."""
        for taking in self._taking:
            taking.cut(code)

    def entered(self, taking: "Taking", account: AccountID) -> None:
        """Count *taking* as under way."""
        self._taking[taking] = None
        self.of_account[account] += 1
        self._is_idle.clear()
        self.begun.stir()

    def left(self, taking: "Taking", account: AccountID) -> None:
        """Count *taking* no more."""
        del self._taking[taking]
        self.of_account[account] -= 1
        if not self.of_account[account]:
            del self.of_account[account]
        if not self._taking:
            self._is_idle.set()

    # -- inside ----------------------------------------------------------------------------------

    def _known(self) -> tuple[Snapshot | None, Pepper | None]:
        snapshot = self.tools.snapshots.current
        kids = frozenset[str]() if snapshot is None else snapshot.pepper_kids
        return snapshot, self.tools.pepper(kids)

    def _heard(self, decided: Admit | Refuse) -> Admit:
        if isinstance(decided, Refuse):
            self.ended[decided.code] += 1
            raise decided.error()
        return decided

    def _load(self) -> Load:
        tools = self.tools
        return Load(
            is_admitting=tools.is_admitting(),
            in_flight=len(self._taking),
            in_flight_max=tools.in_flight_max,
            of_account=self.of_account,
            room_bytes=self._room_bytes(),
            outbox_room_bytes=OUTBOX_BYTES_MAX - tools.outbox.size_bytes,
            lag_s=tools.lag_s(),
            flush_wait_s=tools.outbox.waiting_s,
            elsewhere=self.elsewhere,
        )

    def _room_bytes(self) -> int:
        """Return what the disk may still be promised, looked at once a second."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._room_until_s:
            self._room_until_s = now_s + _ROOM_FOR_S
            promised = sum(taking.promised for taking in self._taking)
            self._room = self.tools.free_bytes() - promised
        # Ends that the disk would not take are the sign that it takes nothing.
        return self._room if self.unsettled < UPLOADS_UNSETTLED_MAX else 0


class Taking:
    """One admitted upload: enter it, ``begin``, ``receive``, ``commit``; else it is aborted."""

    def __init__(self, intake: Intake, admitted: Admit, length: int | None) -> None:
        self._intake = intake
        self._admitted = admitted
        self._length = length
        self._pump: Pump | None = None
        self._unborn: Unborn | None = None
        self._ended = False
        self._is_told = False
        self._cut: Code | None = None
        self._outcome = intake.tools.settling.outcome_id()

    @property
    def account(self) -> AccountID:
        """Whose upload it is."""
        return self._admitted.account.id

    @property
    def promised(self) -> int:
        """Return how many announced bytes are still to come, in bytes."""
        return self._pump.upload.left if self._length is not None and self._pump else 0

    def receiving(self) -> Receiving | None:
        """Return what its owner may see of it now; ``None`` before its beginning and at its end."""
        if self._ended or self._unborn is None or self._pump is None:
            return None
        record = replace(self._unborn.record, length=self._length)
        if record.is_partial:
            return None
        offset = self._pump.upload.offset
        is_durable = self._is_told or offset > 0
        return receiving(record, self._unborn.known, offset, durable=is_durable)

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
        upload = self._new_upload()
        account = admitted.account
        name = below(admitted.credential.folder, incoming.name)
        shown = below(admitted.credential.folder, incoming.shown or incoming.name)
        ciphertext = sealed_name.seal(account.name_key, account.id, upload, shown)
        known = Particulars(
            name=name,
            taken_by=tools.taken_by,
            sealed_name=SealedName(account.name_kid, ciphertext),
            media_type=incoming.media_type,
            content_encoding=incoming.content_encoding,
            digest=incoming.digest,
            metadata=incoming.metadata,
            concat=incoming.concat,
            is_held=incoming.is_held,
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
            is_partial=incoming.is_partial,
            partials=incoming.partials,
        )
        self._unborn = Unborn(record, known)
        has_digest = incoming.wants_digest or incoming.digest is not None
        claim = await tools.sink.create(record, lazily=not incoming.partials)
        self._pump = Pump(
            await claim.writer(provisional=incoming.is_checked),
            Upload(admitted.size_max, incoming.length),
            hashlib.sha256() if has_digest else None,
            is_provisional=incoming.is_checked,
        )
        return upload

    async def receive(self, source: Source, patience: Patience, check: Check | None = None) -> None:
        """Take all parts of *source*; raises as :meth:`edge.pump.Pump.run`.

        With *check*, which ``begin`` must have known to come, they count only if it says so;
        raises as :meth:`edge.pump.Pump.run_checked`.
        """
        assert self._pump is not None, "begin first"
        if self._cut is not None:
            raise Error(self._cut)
        if self._length is None:
            source = Unpromised(source, self._intake.has_room)
        if check is None:
            await self._pump.run(source, patience)
        else:
            await self._pump.run_checked(source, patience, check)

    async def commit(self) -> Outcome:
        """Commit, and return the outcome when all of it is durable: then say success.

        The credential is checked again, and the workflow's newest version is stamped.  Raises
        ``Error``: what admission says now, CHECKSUM_MISMATCH for another digest than announced,
        and what the sink and the outbox raise; then the upload ends by leaving the ``with``.
        """
        assert self._pump is not None, "begin first"
        assert self._unborn is not None
        record, known = self._unborn.record, self._unborn.known
        expected = self._unchecked()
        ending = self._ending()
        try:
            size = await self._pump.finish(ending, expected, self._partials())
        except (SinkError, Fenced) as failure:
            return await self._found_out(failure)  # perhaps only the answer of the disk was lost
        outcome = committed_outcome(record, known, ending, size)
        if not record.is_partial:  # its owner hears of its finals
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

    def _new_upload(self) -> UploadID:
        """Return the id of the upload that ``begin`` makes."""
        return UploadID(self._intake.new_id(Kind.UPLOAD))

    def _unchecked(self) -> Mapping[str, bytes]:
        """Return the announced digests that only a reader can check; this process saw all bytes."""
        assert self._pump is not None
        assert self._unborn is not None
        announced = self._unborn.known.digest
        if announced is not None and self._pump.digest() != announced:
            raise Error(Code.CHECKSUM_MISMATCH)
        return NOTHING

    def _partials(self) -> tuple[Partial, ...]:
        """Return the uploads that this one consists of, if it has no bytes of its own."""
        return ()

    async def _found_out(self, failure: Error) -> Outcome:
        """Return the outcome if *failure* left the upload whole; else end it, and raise."""
        outcome = await self._settled(failure.code)
        if outcome is None or outcome.state is not OutcomeState.COMMITTED:
            raise failure
        return outcome

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

    async def _settled(
        self, code: Code, state: OutcomeState = OutcomeState.FAILED
    ) -> Outcome | None:
        if self._pump is not None:
            await self._pump.close()
        self._ended = True
        return await self._intake.settle(self._unsettled(code, state))

    def _unsettled(self, code: Code, state: OutcomeState = OutcomeState.FAILED) -> Unsettled:
        assert self._unborn is not None
        return Unsettled(
            upload=self._unborn.record.upload,
            fate=Fate(state, code),
            outcome=self._outcome,
            ended_ms=self._intake.tools.clock.now_ms(),
            unborn=self._unborn,
        )
