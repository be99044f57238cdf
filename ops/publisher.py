"""Keeps ready.json true: there while every process serves, away while one does not.

The rule: at first every /readyz is good; later READY=1 and /livez are enough, because an operator
may drain a node without anything being down.  Once it retired it writes nothing any more.
"""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Final

from geo.mmdb import open_database
from geo.region import DEFAULT_ORDER
from ops import preflight, readiness, ready
from ops.child import State
from ops.console import Console
from ops.programs import Place
from ops.ready import Ready
from ops.supervisor import Supervisor
from zentransfer import log
from zentransfer.disk import RealDisk, write_atomic
from zentransfer.service import CannotStart

FIRST_ACCOUNT_FILE: Final = "first-account.json"

_POLL_S: Final = 0.2  # between two looks at what is not ready yet
_AGAIN_S: Final = 5.0  # between two tries to write the file on a disk that refuses


class Publisher:
    """Writes and removes the ready.json of one system; made inside a running loop."""

    def __init__(
        self,
        place: Place,
        supervisor: Supervisor,
        console: Console,
        again_s: float = _AGAIN_S,
    ) -> None:
        """Get ready to publish; a write that fails is tried again every *again_s* seconds."""
        self._place = place
        self._supervisor = supervisor
        self._console = console
        self._again_s = again_s
        self._pids: dict[str, int] | None = None  # what the file says, while it is there
        self._retired = asyncio.Event()
        self._is_told = False  # that the file cannot be written
        self._turn = asyncio.Lock()  # the file's: a write that began ends before we retire
        self.is_published = asyncio.Event()
        """Set once everything was ready for the first time."""
        self.why_not = "no process has started"
        """What is waited for, while it is."""

    @property
    def path(self) -> Path:
        """Return where the file is."""
        return self._place.folder / ready.FILE_NAME

    async def keep(self) -> None:
        """Follow the processes for ever.

        Raises :class:`CannotStart` if the file cannot be written the first time; later that is
        said once and tried again.
        """
        supervisor = self._supervisor
        is_late = False
        while not self._retired.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._again_s if is_late else None):
                    await supervisor.changed.wait()
            supervisor.changed.clear()
            pids = supervisor.serving_pids()
            self.why_not = _waiting_for(supervisor)
            if pids is None:  # a process that took over from one that served is no gap
                await self._withdraw()
            if pids is not None and pids != self._pids and await self._all_answer():
                await self._publish(pids)
            is_late = pids is not None and pids != self._pids

    async def retire(self) -> None:
        """Remove the file, and write it never again; raises ``OSError``."""
        self._retired.set()
        async with self._turn:
            self.path.unlink(missing_ok=True)

    async def _withdraw(self) -> None:
        async with self._turn:
            self._pids = None
            with suppress(OSError):  # a disk that does not even unlink is told when it is written
                self.path.unlink(missing_ok=True)

    async def _all_answer(self) -> bool:
        """Return true when every process answers well, or false as soon as one changed."""
        programs = [each for each in self._supervisor.programs if each.ready_url]
        is_first = not self.is_published.is_set()
        names = {(p.ready_url if is_first else p.live_url) or "": p.name for p in programs}
        while not self._supervisor.changed.is_set():
            answers = await readiness.ask_all(names)
            bad = [f"{names[url]} ({a.detail})" for url, a in answers.items() if not a.ready]
            if not bad:
                return not self._supervisor.changed.is_set()
            self.why_not = ", ".join(bad)
            await asyncio.sleep(_POLL_S)
        return False

    async def _publish(self, pids: dict[str, int]) -> None:
        document = ready.document(self._place, pids, first_account(self._place))
        async with self._turn:
            if self._retired.is_set() or not await self._is_written(document):
                return
        was_away, self._pids = self._pids is None, pids
        if self._retired.is_set():  # while it was written: it is removed now
            return
        log.fact("launcher.system_ready")
        if self.is_published.is_set():
            if was_away:
                self._console.say("Everything is ready again.", "green")
        else:
            self.is_published.set()
            _greet(self._console, document, self._place, self.path)

    async def _is_written(self, document: Ready) -> bool:
        try:
            with preflight.using(self._place.folder):
                disk = RealDisk(self._place.folder)
                try:
                    await write_atomic(disk, ready.FILE_NAME, ready.text(document).encode())
                finally:
                    disk.close()
        except CannotStart as exc:
            if not self.is_published.is_set():
                raise
            if not self._is_told:
                self._is_told = True
                again = f"It is tried again every {self._again_s:g} s."
                self._console.say(f"{ready.FILE_NAME} cannot be written: {exc.message} {again}")
                log.error("launcher.ready_file_failed", exc.__cause__ or exc)
            return False
        self._is_told = False
        return True


def first_account(place: Place) -> dict[str, str] | None:
    """Return how one signs in to the first account, as control wrote it down, if it did."""
    try:
        text = (place.control_folder / FIRST_ACCOUNT_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return {str(name): str(value) for name, value in json.loads(text).items()}


def _waiting_for(supervisor: Supervisor) -> str:
    late = [n for n, child in supervisor.children.items() if child.state is not State.SERVING]
    return f"still starting: {', '.join(late)}" if late else "every process has started"


def _greet(console: Console, document: Ready, place: Place, path: Path) -> None:
    """Say where everything is, how one signs in, and how a first file is sent."""
    console.say("")
    rows = [("control", "HTTP", document["control"]["url"])]
    rows.append(("control", "gRPC", document["control"]["grpc"]))
    for name, edge in document["edges"].items():
        rows.append((name, "HTTP", edge["http"]))
        rows.append((name, "FTP", f"{edge['ftp']}   FTPS {edge['ftps']}   SFTP {edge['sftp']}"))
        rows.append((name, "metrics", edge["metrics"]))
    console.table(("where", "door", "address"), rows)
    console.say("")
    console.say(f"Everything is ready. Addresses and pids: {path}", "bold green")
    if account := document["account"]:
        first = next(iter(document["edges"].values()))
        token = account["api_token"]
        console.say(f"API token: {token}")
        console.say(f"FTP user and password: {account['ftp_user']} {account['ftp_password']}")
        console.say("Send a first file, by HTTP or as a camera does by FTP:")
        console.say(f"  curl -T FILE -H 'Authorization: Bearer {token}' {first['http']}/in/FILE")
        user = f"{account['ftp_user']}:{account['ftp_password']}"
        console.say(f"  curl -T FILE -u {user} ftp://{first['ftp']}/")
        console.say(f"It arrives in {document['delivered']}.")
    console.say(_about_places(place))
    console.say("Ctrl-C drains and stops.")


def _about_places(place: Place) -> str:
    """Say what tells where a client is, with the words its licence asks for."""
    if place.database is None:
        order = ", ".join(DEFAULT_ORDER)
        return f"No address database: clients are sent to {order} in this order. See `make setup`."
    lines = sorted({one.attribution or one.file for one in open_database(place.database).sources})
    return f"Nearest node: {'; '.join(lines)}"
