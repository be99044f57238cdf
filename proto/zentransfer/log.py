"""One JSON line for each fact, and nothing in it that ``zentransfer.log_facts`` does not declare.

The rule: a log holds only what the table lets through.  A fact that is not in ``FACTS`` becomes
``unregistered`` without fields, a field that is unknown or does not fit its type is dropped and
counted, an error shows its class and where in our code it was, never its message.  What libraries
say shrinks to who said it.  So no address, name, path or credential is ever written (law 11).
"""

import errno
import faulthandler
import json
import logging
import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

import structlog
from structlog.processors import JSONRenderer
from structlog.typing import EventDict, Processor

from zentransfer.clock import Clock, SystemClock
from zentransfer.errors import Code, Error
from zentransfer.limits import LOG_CAUSES_MAX, LOG_FRAMES_MAX
from zentransfer.log_facts import FACTS
from zentransfer.log_fields import CLASS, Text

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_OURS: Final = frozenset({"edge", "control", "geo", "ops", "zentransfer"})
_NAME: Final = Text("[a-z]{1,20}(-[0-9]{1,3})?")

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))


@dataclass(slots=True)
class Counts:
    """What did not get into the log since the start of the process."""

    dropped: int = 0
    """Fields that are not declared, or whose value does not fit."""
    unregistered: int = 0
    """Facts that are not declared."""
    lost: int = 0
    """Lines that could not be written."""


def _json(line: EventDict, **_: object) -> str:
    """Return *line* as JSON; one encoder for all lines, for ``json.dumps`` makes one for each."""
    return _ENCODER.encode(line)


class Log:
    """Writes lines to a stream; a process has one, made by :func:`setup`."""

    def __init__(self, process: str, stream: TextIO | None, clock: Clock) -> None:
        assert _NAME.shown(process), "a process is named like ingest-0"
        self.counts = Counts()
        self.processors: Final[tuple[Processor, ...]] = (self._declared, JSONRenderer(_json))
        self._process = process
        self._stream = stream  # without one: what stderr is at that moment
        self._clock = clock
        # An error in a destructor may be told in the middle of a write of the same thread.
        self._lock = threading.RLock()

    def say(self, event: dict[str, object]) -> None:
        """Write one event: the fact's name under ``event``, its error under ``exc_info``."""
        given: Any = event
        for processor in self.processors:
            given = processor(self, "msg", given)
        self.msg(given)

    def msg(self, line: str) -> None:
        """Write one finished line; what cannot be written is counted, never raised."""
        stream = self._stream or sys.stderr
        try:
            with self._lock:
                stream.write(line + "\n")
                stream.flush()
        except (OSError, ValueError, RuntimeError):  # full disk, no reader, closed, re-entered
            self.counts.lost += 1

    # structlog calls the method that is named as its own was.
    debug = info = warning = error = critical = exception = fatal = log = msg

    def _declared(self, _: object, __: str, event: EventDict) -> EventDict:
        """Return the line of *event*: what its fact declares, and nothing else."""
        name = event.pop("event", None)
        error = event.pop("exc_info", None)
        fact = FACTS.get(name) if isinstance(name, str) else None
        if fact is None:
            self.counts.unregistered += 1
            name, fact = "unregistered", FACTS["unregistered"]
        line: dict[str, object] = {
            "at": _utc(self._clock.now_ms()),
            "level": fact.level,
            "by": self._process,
            "fact": name,
        }
        dropped = 0
        for key, value in event.items():
            field = fact.fields.get(key)
            shown = field.shown(value) if field else None
            if shown is not None:
                line[key] = shown
            elif field is None or value is not None:  # a declared field may be unknown
                dropped += 1
        if isinstance(error, BaseException):
            line.update(_explained(error))
        if dropped:
            self.counts.dropped += dropped
            line["dropped"] = dropped
        return line


def _utc(now_ms: int) -> str:
    """Return *now_ms*, milliseconds since 1970, as RFC 3339 text in UTC."""
    second = datetime.fromtimestamp(now_ms // 1000, UTC).isoformat()
    return f"{second.removesuffix('+00:00')}.{now_ms % 1000:03d}Z"


def _explained(error: BaseException) -> dict[str, object]:
    """Return what may be known of *error*: classes, its code or number, frames of our code.

    An :class:`Error` with a code other than ``INTERNAL`` is nobody's mistake in our code: it has
    no frames.
    """
    innermost = _leaf(error)
    line: dict[str, object] = {"error": _class_of(error)}
    causes = [_class_of(cause) for cause in _causes(error)]
    if causes:
        line["causes"] = causes
    if isinstance(innermost, OSError):
        line["errno"] = errno.errorcode.get(innermost.errno or 0, "other")
    if isinstance(innermost, Error):
        line["code"] = str(innermost.code)
    if not isinstance(innermost, Error) or innermost.code is Code.INTERNAL:
        line["frames"] = _frames(innermost.__traceback__)
    return line


def _class_of(error: BaseException) -> str:
    return str(CLASS.shown(type(error)))


def _members(error: BaseException) -> tuple[BaseException, ...]:
    """Return the errors that *error* holds if it is a group, else none."""
    if not isinstance(error, BaseExceptionGroup):
        return ()
    return cast("BaseExceptionGroup[BaseException]", error).exceptions


def _leaf(error: BaseException) -> BaseException:
    """Return the first error of a group, of the group in it, and so on."""
    while members := _members(error):
        error = members[0]
    return error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what *error* holds and what led to it, nearest first, no more than the limit."""
    waiting: deque[BaseException] = deque([error])
    for _ in range(LOG_CAUSES_MAX + 1):
        if not waiting:
            return
        found = waiting.popleft()
        if found is not error:
            yield found
        waiting.extend(_members(found))
        hidden = None if found.__suppress_context__ else found.__context__
        before = found.__cause__ or hidden
        if before is not None:
            waiting.append(before)


def _frames(traceback: TracebackType | None) -> list[str]:
    """Return the innermost frames of our own packages, outermost first: no values, no paths."""
    frames: deque[str] = deque(maxlen=LOG_FRAMES_MAX)
    while traceback is not None:
        frame = traceback.tb_frame
        spec = frame.f_globals.get("__spec__")  # the true name of what was started with -m
        module = str(spec.name if spec else frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] in _OURS:
            frames.append(f"{module}:{traceback.tb_lineno} {frame.f_code.co_qualname}")
        traceback = traceback.tb_next
    return list(frames)


class _Libraries(logging.Handler):
    """The root handler: of what a library logs, only its name, level and error class remain."""

    def emit(self, record: logging.LogRecord) -> None:
        fact = "library.error" if record.levelno >= logging.ERROR else "library.warning"
        event: dict[str, object] = {"event": fact, "logger": record.name}
        if record.exc_info:
            event["exc_info"] = record.exc_info[1]
        _log.say(event)


_log = Log("early", None, SystemClock())


def fact(name: str, /, **fields: object) -> None:
    """Write the fact *name*; *name* and *fields* are declared in ``FACTS``.

    Never raises for what cannot be shown or written; a field that is ``None`` is left out.
    """
    _log.say({**fields, "event": name, "exc_info": None})


def error(name: str, exc: BaseException, /, **fields: object) -> None:
    """Write the fact *name* and what may be known of *exc*: its class, code and our frames."""
    _log.say({**fields, "event": name, "exc_info": exc})


def counts() -> Counts:
    """Return what did not get into the log of this process so far."""
    return _log.counts


def setup(process: str, stream: TextIO | None = None, *, clock: Clock | None = None) -> None:
    """Write this process's log to *stream*, stderr by default, and let nothing else write one.

    Takes over the handlers of ``logging``, the hooks for uncaught errors, warnings, structlog, and
    turns off ``faulthandler``, which writes stacks as it likes.  Called once, first of all.
    """
    global _log  # noqa: PLW0603 - a process has one log, and libraries reach it through hooks
    _log = Log(process, stream, clock or SystemClock())
    structlog.configure(
        processors=_log.processors,
        wrapper_class=structlog.BoundLogger,
        logger_factory=lambda *_: _log,
        cache_logger_on_first_use=False,
    )
    _take_over_logging()
    sys.excepthook = lambda _, value, __: error("python.uncaught", value)
    sys.unraisablehook = _unraisable
    threading.excepthook = _thread_uncaught
    warnings.showwarning = _warned
    if faulthandler.is_enabled():
        faulthandler.disable()


def _take_over_logging() -> None:
    logging.raiseExceptions = False
    logging.lastResort = None
    logging.root.setLevel(logging.WARNING)
    logging.root.handlers[:] = [_Libraries()]
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True


def _unraisable(found: "UnraisableHookArgs") -> None:
    if found.exc_value is not None:
        error("python.unraisable", found.exc_value)


def _thread_uncaught(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None:
        error("thread.uncaught", found.exc_value)


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    fact("python.warning", category=category)
