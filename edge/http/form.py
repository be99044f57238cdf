"""The files of one form, one after the other, each a source of parts for a pump.

The rule: what is no file is passed over within bounds and a time of its own; and a form that ends
before its last boundary gives no whole file.
"""

import asyncio
from collections import deque

from edge.http.multipart import Data, Event, FormEnd, FormParser, Part, PartEnd
from edge.pace import Patience
from edge.pump import Source
from zentransfer.errors import Code, Error
from zentransfer.limits import FORM_FIELD_BYTES_MAX, FORM_FIELDS_MAX, FORM_FILES_MAX


class Form:
    """The files of a form: ``next_file``, then the form is the source of that file's parts."""

    def __init__(self, body: Source, boundary: bytes, patience: Patience) -> None:
        """Read *body*, whose parts stand between *boundary*."""
        self._body = body
        self._parser = FormParser(boundary)
        self._events = deque[Event]()
        self._patience = patience
        self._fields = self._files = 0

    async def next_file(self) -> Part | None:
        """Return the next file's beginning; ``None`` at the end of the form.

        Raises ``Error``: TIMEOUT, INVALID for more of anything than a form may have, and what
        reading raises.
        """
        try:
            async with asyncio.timeout(self._patience.window_s):
                return await self._passed_over()
        except TimeoutError:
            raise Error(Code.TIMEOUT) from None

    async def readany(self) -> bytes:
        """Return what has come of the file, nothing at its clean end; see ``Source``.

        Raises ``Error(INVALID)`` when the form ends in the middle of it.
        """
        event = await self._next()
        return event.data if isinstance(event, Data) else b""

    async def _passed_over(self) -> Part | None:
        size = 0
        while True:
            match await self._next():
                case Part(name) as part:
                    if name:
                        self._files = _counted(self._files, FORM_FILES_MAX, "files")
                        return part
                    self._fields = _counted(self._fields, FORM_FIELDS_MAX, "fields")
                case Data(data):
                    size += len(data)
                    if size > FORM_FIELD_BYTES_MAX:
                        raise Error(Code.INVALID, "a field is too long; a file has a filename")
                case PartEnd():
                    size = 0
                case FormEnd():
                    await self._end()
                    return None

    async def _next(self) -> Event:
        while not self._events:
            data = await self._body.readany()
            if not data:
                raise Error(Code.INVALID, "the form ends before its last boundary")
            self._events += self._parser.feed(data)
        return self._events.popleft()

    async def _end(self) -> None:
        """Read what may stand behind the last boundary, so that the connection can go on."""
        count = 0
        while count <= FORM_FIELD_BYTES_MAX and (data := await self._body.readany()):
            count += len(data)


def _counted(count: int, count_max: int, what: str) -> int:
    if count >= count_max:
        raise Error(Code.INVALID, f"a form has at most {count_max} {what}")
    return count + 1
