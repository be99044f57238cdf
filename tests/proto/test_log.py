import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.canaries import CANARIES
from zentransfer import ids
from zentransfer.clock import ManualClock
from zentransfer.errors import Code, Error
from zentransfer.limits import LOG_CAUSES_MAX, LOG_FRAMES_MAX
from zentransfer.log import Log
from zentransfer.log_facts import FACTS

ROOT = Path(__file__).parent.parent.parent
NOON_MS = 1_795_348_800_007  # 2026-11-22T12:00:00.007Z


class Heard:
    """A log and what it wrote."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.log = Log("ingest-0", self.stream, ManualClock(NOON_MS))

    def line(self, name: str, **fields: object) -> dict[str, Any]:
        """Say one fact and return its line."""
        return self.said({**fields, "event": name})

    def failed(self, exc: BaseException) -> dict[str, Any]:
        """Say an error and return its line."""
        return self.said({"event": "process.failed", "exc_info": exc})

    def said(self, event: Mapping[str, object]) -> dict[str, Any]:
        """Say one event and return its line."""
        self.stream.seek(0)
        self.stream.truncate()
        self.log.say(dict(event))
        (line,) = self.stream.getvalue().splitlines()
        found: dict[str, Any] = json.loads(line)
        return found


def raised(raising: Callable[[], object]) -> BaseException:
    try:
        raising()
    except BaseException as exc:  # noqa: BLE001 - whatever it is, it is the answer
        return exc
    raise AssertionError("nothing was raised")


def test_a_fact_is_one_line_of_json() -> None:
    heard = Heard()
    assert heard.line("fleet.late", region="fr", node="fr-1", process="ingest-0") == {
        "at": "2026-11-22T12:00:00.007Z",
        "level": "warning",
        "by": "ingest-0",
        "fact": "fleet.late",
        "region": "fr",
        "node": "fr-1",
        "process": "ingest-0",
    }
    assert heard.log.counts.dropped == 0


def test_a_fact_that_is_not_declared_is_unregistered_and_shows_nothing() -> None:
    heard = Heard()
    line = heard.line("planted.fact", region="fr", node="fr-1")
    assert line["fact"] == "unregistered"
    assert line["dropped"] == 2
    assert line.keys() == {"at", "level", "by", "fact", "dropped"}
    assert (heard.log.counts.unregistered, heard.log.counts.dropped) == (1, 2)


def test_a_field_that_is_unknown_or_does_not_fit_is_dropped_and_counted() -> None:
    heard = Heard()
    line = heard.line("fleet.late", region="mars", node="fr-1", address="192.0.2.77")
    assert line["dropped"] == 2
    assert line["node"] == "fr-1"
    assert not {"region", "address"} & line.keys()
    heard.line("fleet.late", planted=1)
    assert heard.log.counts.dropped == 3


def test_a_declared_field_may_be_unknown() -> None:
    line = Heard().line("fleet.late", region=None, node="fr-1")
    assert not {"region", "dropped"} & line.keys()


@pytest.mark.parametrize("canary", CANARIES.values(), ids=CANARIES.keys())
def test_a_canary_in_any_field_of_any_fact_is_not_written(canary: str) -> None:
    heard = Heard()
    for name, fact in FACTS.items():
        for field in (*fact.fields, "planted", "by", "at", "level", "error"):
            line = heard.said({field: canary, "event": name})
            assert canary not in json.dumps(line, ensure_ascii=False)
            assert canary not in line.values()
    line = heard.line(canary)
    assert line["fact"] == "unregistered"
    assert canary not in str(line)


@given(
    st.sampled_from([*FACTS, "planted"]) | st.text(),
    st.dictionaries(
        st.text() | st.sampled_from(["region", "node", "reason", "by", "at", "event"]),
        st.text() | st.integers() | st.floats() | st.binary() | st.none() | st.lists(st.text()),
    ),
)
def test_no_input_forges_or_breaks_a_line(name: str, fields: dict[str, object]) -> None:
    line = Heard().said({**fields, "event": name})
    declared = FACTS[line["fact"]].fields
    assert line["by"] == "ingest-0"
    assert line.keys() - {"at", "level", "by", "fact", "dropped"} <= declared.keys()
    for key in declared.keys() & line.keys():
        assert line[key] == declared[key].shown(fields[key])


@pytest.mark.parametrize("canary", CANARIES.values(), ids=CANARIES.keys())
def test_an_error_shows_its_class_and_never_its_message(canary: str) -> None:
    line = Heard().failed(ValueError(canary, canary.encode()))
    assert line["error"] == "ValueError"
    assert canary not in str(line)
    error = OSError(errno.ENOSPC, canary, canary)
    error.add_note(canary)
    line = Heard().failed(error)
    assert (line["error"], line["errno"]) == ("OSError", "ENOSPC")
    assert canary not in str(line)


def test_our_own_fault_shows_the_frames_of_our_code_without_values() -> None:
    def run() -> object:
        return ids.IdMaker(lambda count: bytes(count // 0)).make(ids.Kind.UPLOAD)

    line = Heard().failed(raised(run))
    (frame,) = line["frames"]
    module, _, function = frame.partition(" ")
    assert module.startswith("zentransfer.ids:")
    assert function == "IdMaker.make"
    assert "lambda" not in str(line), "the frames of others stay out"


def test_a_refusal_shows_its_code_and_no_frames() -> None:
    line = Heard().failed(raised(lambda: ids.node("jane.doe@photographers.example")))
    assert (line["error"], line["code"]) == ("Error", "invalid")
    assert "frames" not in line
    line = Heard().failed(Error(Code.INTERNAL, "planted"))
    assert (line["code"], line["frames"]) == ("internal", [])


def test_a_group_shows_its_members_and_the_frames_of_the_first() -> None:
    def run() -> None:
        leaf = raised(lambda: ids.IdMaker(lambda count: bytes(count // 0)).make(ids.Kind.RUN))
        assert isinstance(leaf, Exception)
        raise ExceptionGroup("jane", [ExceptionGroup("doe", [leaf, OSError(5, "x")]), KeyError()])

    line = Heard().failed(raised(run))
    assert line["error"] == "ExceptionGroup"
    assert line["causes"] == ["ExceptionGroup", "KeyError", "ZeroDivisionError", "OSError"]
    assert [frame.partition(":")[0] for frame in line["frames"]] == ["zentransfer.ids"]


def test_what_led_to_an_error_is_shown_by_class() -> None:
    def run() -> None:
        try:
            dict[str, int]()["jane.doe"]
        except KeyError:
            try:
                int("jane.doe")
            except ValueError as exc:
                raise RuntimeError("jane.doe") from exc

    assert Heard().failed(raised(run))["causes"] == ["ValueError", "KeyError"]


def test_a_cause_that_was_hidden_stays_hidden() -> None:
    def run() -> None:
        try:
            dict[str, int]()["jane.doe"]
        except KeyError:
            raise RuntimeError("jane.doe") from None

    assert "causes" not in Heard().failed(raised(run))


@pytest.mark.reaches("LOG_CAUSES_MAX")
def test_a_long_or_circular_chain_of_causes_ends() -> None:
    first = error = ValueError()
    for _ in range(LOG_CAUSES_MAX + 5):
        error.__cause__ = error = ValueError()
    assert len(Heard().failed(first)["causes"]) == LOG_CAUSES_MAX
    error.__cause__ = first
    assert len(Heard().failed(error)["causes"]) == LOG_CAUSES_MAX


@pytest.mark.reaches("LOG_FRAMES_MAX")
def test_a_deep_stack_shows_its_innermost_frames() -> None:
    def make(depth: int) -> str:
        def descend(_: int) -> bytes:
            if depth == 0:
                raise ZeroDivisionError
            return make(depth - 1).encode()

        return ids.IdMaker(descend).make(ids.Kind.RUN)

    line = Heard().failed(raised(lambda: make(LOG_FRAMES_MAX + 5)))
    assert len(line["frames"]) == LOG_FRAMES_MAX


class Broken(io.StringIO):
    """A stream whose disk is full."""

    def write(self, _: str, /) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_line_that_cannot_be_written_is_counted_and_harms_nobody(is_closed: bool) -> None:
    stream = io.StringIO() if is_closed else Broken()
    if is_closed:
        stream.close()
    log = Log("ingest-0", stream, ManualClock(NOON_MS))
    log.say({"event": "process.ready"})
    assert log.counts.lost == 1


@pytest.mark.parametrize("name", ["", "jane.doe", "ingest 0", "x" * 40])
def test_a_process_is_named_by_us(name: str) -> None:
    with pytest.raises(AssertionError):
        Log(name, None, ManualClock())


def outcome(script: str, *args: str) -> tuple[list[dict[str, Any]], str]:
    """Run *script* as a process with a log; return its lines and everything that it wrote."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-X", "faulthandler", "-c", script, *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
    )
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()], done.stderr


EVERY_WAY = """
import asyncio, gc, logging, sys, threading, warnings
import aiohttp, structlog
logging.basicConfig(stream=sys.stderr)
early = logging.getLogger("json.decoder")
early.propagate = False
early.addHandler(logging.StreamHandler(sys.stdout))
from zentransfer import log
canaries = sys.argv[1:]
log.setup("ingest-0")
for canary in canaries:
    early.error(canary)
    for name in ("aiohttp.access", "aiohttp.server", "grpc._cython", "asyncio", canary):
        library = logging.getLogger(name)
        library.info(canary)
        library.warning("from %s", canary, extra={"peer": canary}, stack_info=True)
        library.error("%d", canary)  # a formatting error
        try:
            raise ValueError(canary)
        except ValueError:
            library.exception(canary)
    warnings.warn(canary, ResourceWarning)
    structlog.get_logger().info(canary, peer=canary)
    structlog.get_logger().error("process.ready", peer=canary, exc_info=True)
    log.fact(canary, peer=canary)
    log.error("process.failed", ValueError(canary), peer=canary)

    def fail(canary=canary):
        raise RuntimeError(canary)

    thread = threading.Thread(target=fail, name=canary)
    thread.start()
    thread.join()

    class Unraisable:
        def __del__(self, canary=canary):
            raise KeyError(canary)

    del Unraisable
    Unraisable = type("Gone", (), {"__del__": lambda self, canary=canary: fail(canary)})
    Unraisable()

    async def stray(canary=canary):
        loop = asyncio.get_running_loop()
        loop.call_soon(fail)
        loop.call_exception_handler({"message": canary, "peer": canary})
        loop.create_task(asyncio.sleep(0), name=canary)
        lost = loop.create_future()
        lost.set_exception(RuntimeError(canary))
        del lost
        gc.collect()
        await asyncio.sleep(0.01)

    asyncio.run(stray())
raise SystemError(*canaries)
"""


def test_no_way_of_speaking_lets_a_canary_out() -> None:
    lines, text = outcome(EVERY_WAY, *CANARIES.values())
    for canary in CANARIES.values():
        assert canary not in text
        assert json.dumps(canary)[1:-1] not in text
    told = {line["fact"] for line in lines}
    assert told >= {
        *("library.warning", "library.error", "python.warning", "python.unraisable"),
        *("python.uncaught", "thread.uncaught", "unregistered", "process.failed"),
    }
    assert {line["by"] for line in lines} == {"ingest-0"}
    assert lines[-1]["fact"] == "python.uncaught"
    assert lines[-1]["error"] == "SystemError"
    loggers = {line["logger"] for line in lines if "logger" in line}
    assert loggers == {"aiohttp", "asyncio", "json.decoder", "other"}


def test_the_log_is_written_as_it_is_said() -> None:
    script = (
        "import os\nfrom zentransfer import log\n"
        "log.fact('process.started')\nlog.setup('control')\nlog.fact('process.ready')\nos._exit(0)"
    )
    lines, _ = outcome(script)
    assert [(line["by"], line["fact"]) for line in lines] == [
        ("early", "process.started"),
        ("control", "process.ready"),
    ]


def test_a_log_whose_reader_is_gone_is_counted_and_harms_nobody() -> None:
    script = (
        "import os, sys\nfrom zentransfer import log\n"
        "reader, writer = os.pipe()\nos.close(reader)\n"
        "log.setup('control', os.fdopen(writer, 'w'))\n"
        "log.fact('process.ready')\nlost = log.counts().lost\n"
        "log.setup('control')\nlog.fact('process.left')\nos._exit(lost)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
    )
    assert done.returncode == 1, done.stderr
    assert "process.left" in done.stderr
