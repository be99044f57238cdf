"""New uploads at the door: sent on to the region where they belong, or taken in from another one.

The rules: it is decided before the body is asked for, so that a body crosses the line once; who is
sent on was admitted by name first, so a stranger learns no region; and whatever is not clear is
taken here, where the usual refusals are said in the dialect that asks.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

from edge import admission, handover, nearest
from edge.handover import Flaw, Signer, Ticket, TicketRefused
from edge.http import multipart, rufh, structured, tus
from edge.http.exchange import AT_DOOR, HANDED, REFUSED, wanted
from edge.intake import Intake
from edge.nearest import Asked, Here, Why
from edge.snapshot import AccountEntry, Snapshot
from edge.spent import SpentTickets
from edge.unfinished import Unfinished
from geo.load import IDLE, SPILL_FROM, Load
from geo.settings import Route
from geo.web import Router
from zentransfer.clock import Clock
from zentransfer.errors import Code, Error
from zentransfer.ids import RandomBytes
from zentransfer.limits import FLUSH_WAIT_MAX_S, HANDOVER_PATH_CHARS_MAX, LOOP_LAG_MAX_S

QUERY: Final = "ticket"
"""The name in a URL's query behind which a ticket stands."""
_BY_TLS: Final = "https:"
_NOT_GOOD: Final = "the ticket in the address is over or spent; send to the address you began with"


@dataclass(frozen=True, slots=True)
class Handing:
    """What hand-overs stand on; ``signer`` is the region's, ``spent`` what it has taken in."""

    intake: Intake
    unfinished: Unfinished
    router: Router
    signer: Signer
    spent: SpentTickets
    clock: Clock
    random_bytes: RandomBytes


class Nearest:
    """Where a new upload goes, at one node; ``ways`` and ``flaws`` count what was decided."""

    def __init__(self, settings: Route, handing: Handing) -> None:
        """Send on as *settings* say: from the entry names, and when full; for a pin in any case."""
        self._settings = settings
        self._handing = handing
        self._region = handing.intake.tools.region
        self._entry = frozenset(name.lower() for name in settings.entry)
        doors = {one: url for one, url in settings.http.items() if one is not self._region}
        self._doors = frozenset(doors)
        self._tls_doors = frozenset(one for one, url in doors.items() if url.startswith(_BY_TLS))
        self._own = settings.http.get(self._region)
        self._seen: tuple[Snapshot | None, bool] = (None, False)
        self.ways = Counter[Why]()
        self.flaws = Counter[Flaw]()

    async def maybe_elsewhere(self, request: web.Request) -> str | None:
        """Return the URL that a new upload is sent on to; ``None`` if it is taken or refused here.

        A ticket in *request* is spent by that, and admission goes by it from then on.
        """
        is_entry = self._is_entry(request)
        if is_entry and self._own is not None and _is_as_safe(self._own, request):
            request[AT_DOOR] = self._own
        text = maybe_ticket(request.raw_path)
        load = self._load()
        if text is None and not (is_entry or not load.free or self._has_strays()):
            return None
        now_ms = self._handing.clock.now_ms()
        asked = wanted(request, announced(request), now_ms)
        try:
            ticket = None if text is None else self._opened(text, request, asked)
            asked = replace(asked, ticket=ticket)
            url = self._maybe_url(request, asked, load)
            if ticket is not None:
                await self._take_in(request, asked, ticket)
        except TicketRefused as refused:
            self.flaws[refused.flaw] += 1
            request[REFUSED] = Error(Code.UNAUTHENTICATED, _NOT_GOOD)
            return None
        except Error as refused:
            request[REFUSED] = refused
            return None
        if url is None and ticket is not None:
            request[HANDED] = ticket
        return url

    # -- sent on ---------------------------------------------------------------------------------

    def _maybe_url(self, request: web.Request, asked: admission.Request, load: Load) -> str | None:
        tools = self._handing.intake.tools
        snapshot = tools.snapshots.current
        kids = frozenset[str]() if snapshot is None else snapshot.pepper_kids
        asker = admission.maybe_asker(snapshot, tools.pepper(kids), asked)
        path = _path(request.raw_path)
        if asker is None or not _can_be_sent(path) or not self._is_known(snapshot, asked.now_ms):
            return None
        account, credential = asker
        hops = 0 if asked.ticket is None else asked.ticket.hops
        came = Asked(
            is_entry=self._is_entry(request),
            can_follow=nearest.can_follow(request.method, request.headers),
            hops=hops,
            length=asked.length,
        )
        # Who came by TLS is not sent where others could read the ticket.
        here = Here(self._region, self._tls_doors if request.secure else self._doors, load)
        try:
            choice = self._handing.router.choice(request, load=load)
        except Error:  # a lab's header that is none of ours: other paths do not look at it either
            return None
        decided = nearest.way(here, account.pin, choice, came)
        self.ways[decided.why] += 1
        if decided.region is None or _is_form(request):  # a ticket is for one upload, be it pinned
            return None
        ticket = Ticket(
            account=account.id,
            credential=credential.id,
            workflow=credential.workflow_id,
            region=decided.region,
            expires_ms=handover.expires_ms(asked.now_ms),
            nonce=handover.nonce(self._handing.random_bytes),
            length=asked.length,
            hops=hops + 1,
        )
        door = self._settings.http[decided.region].rstrip("/")
        return f"{door}{path}?{QUERY}={self._handing.signer.signed(ticket)}"

    def _is_known(self, snapshot: Snapshot | None, now_ms: int) -> bool:
        """Say whether others can verify what this region signs, as far as control has told it."""
        signer = self._handing.signer
        entry = None if snapshot is None else snapshot.maybe_ticket_key(signer.kid)
        is_ours = entry is not None and entry.key == signer.public
        return entry is not None and is_ours and handover.serves(entry, now_ms)

    def _load(self) -> Load:
        """Return how full this region is as far as this process knows, if that moves anybody."""
        if not self._settings.spill:
            return IDLE
        intake = self._handing.intake
        tools = intake.tools
        is_behind = tools.lag_s() > LOOP_LAG_MAX_S or tools.outbox.waiting_s > FLUSH_WAIT_MAX_S
        used = 1.0 if is_behind else intake.in_flight / tools.in_flight_max
        return IDLE if used < SPILL_FROM else Load({self._region: used})

    def _has_strays(self) -> bool:
        """Say whether the snapshot knows an account that is pinned elsewhere; looked at once."""
        snapshot = self._handing.intake.tools.snapshots.current
        if snapshot is not self._seen[0]:
            self._seen = snapshot, _has_strays(snapshot)
        return self._seen[1]

    def _is_entry(self, request: web.Request) -> bool:
        return bool(self._entry) and request.headers.get("Host", "").lower() in self._entry

    # -- taken in --------------------------------------------------------------------------------

    def _opened(self, text: str, request: web.Request, asked: admission.Request) -> Ticket:
        if _is_form(request):
            raise TicketRefused(Flaw.FORM)
        snapshot = self._handing.intake.tools.snapshots.current
        if snapshot is None:
            raise TicketRefused(Flaw.UNKNOWN_KEY)
        ticket = handover.opened(text, snapshot.maybe_ticket_key, self._region, asked.now_ms)
        handover.check_length(ticket, asked.length)
        return ticket

    async def _take_in(
        self, request: web.Request, asked: admission.Request, ticket: Ticket
    ) -> None:
        """Spend *ticket* if it would be admitted; one that has to wait may be shown again."""
        if self._is_ours(ticket):
            length = request.content_length if asked.length is None else asked.length
            self._handing.intake.admitted(replace(asked, length=length), begins=False)
            if _is_resumable(request):
                self._handing.unfinished.must_have_room(ticket.account)
        await self._handing.spent.spend(ticket)

    def _is_ours(self, ticket: Ticket) -> bool:
        """Say whether the account may be here; if not it is sent on, which spends a ticket too."""
        snapshot = self._handing.intake.tools.snapshots.current
        account = None if snapshot is None else snapshot.maybe_account(ticket.account)
        return account is None or account.pin in (None, self._region)


def _has_strays(snapshot: Snapshot | None) -> bool:
    if snapshot is None:
        return False
    accounts = (one for one in snapshot.content.values() if isinstance(one, AccountEntry))
    return any(one.pin not in (None, snapshot.region) for one in accounts)


def maybe_ticket(target: str) -> str | None:
    """Return what stands as ticket in the request line's *target*, if something does."""
    _, mark, query = target.partition("?")
    if not mark or QUERY not in query:
        return None
    try:
        found = parse_qs(query, keep_blank_values=True, max_num_fields=8).get(QUERY)
    except ValueError:  # more fields than any address of ours has
        return None
    return None if found is None else found[0]


def announced(request: web.Request) -> int | None:
    """Return how many bytes the whole upload will have; ``None`` where only its end tells.

    It is what the door goes by that takes it: ``Upload-Length`` says nothing of a whole file, and
    said twice it says nothing at all.
    """
    if not _is_resumable(request):
        return request.content_length
    return structured.maybe_size(structured.field(request.headers, "Upload-Length"))


def _is_resumable(request: web.Request) -> bool:
    """Say whether *request*, for a new upload, creates one that outlives it."""
    return tus.is_ours(request.raw_path) or rufh.is_creation(request.headers)


def _is_form(request: web.Request) -> bool:
    """Say whether *request* brings files of a form, each an upload of its own."""
    is_form = multipart.is_form(request.headers.get("Content-Type", ""))
    return request.method == "POST" and is_form and not _is_resumable(request)


def _is_as_safe(door: str, request: web.Request) -> bool:
    return door.startswith(_BY_TLS) or not request.secure


def _path(target: str) -> str:
    """Return the path of the request line as it came; a door's own address goes before it."""
    if target.startswith("/"):
        return target.partition("?")[0]
    return urlsplit(target).path


def _can_be_sent(path: str) -> bool:
    """Say whether *path* can stand in a header, and with its ticket in a request line."""
    is_plain = path.isascii() and path.isprintable() and " " not in path
    return path.startswith("/") and is_plain and len(path) <= HANDOVER_PATH_CHARS_MAX
