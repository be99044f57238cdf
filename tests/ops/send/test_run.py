"""All of a ``send`` on real sockets, against a small server and lines that break."""

import asyncio
import hashlib
import io
import json
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ops.send.client import Waits
from ops.send.files import wanted
from ops.send.run import NobodyAnswers, Plan, Run
from ops.send.screen import screen
from ops.send.sending import Patience
from tests.support.real_loop import real_loop
from tests.support.relay import Relay
from tests.support.tus_server import TOKEN, Fault, Kept, TusServer, World
from zentransfer.ids import Region
from zentransfer.limits import SEND_FOLLOW_S, SEND_READ_BYTES

IMPATIENT = Waits(stall_s=0.4, answer_s=0.6)


def content(size: int, seed: int = 1) -> bytes:
    return Random(seed).randbytes(size)


class Hasty(Random):
    """Draws short pauses, so that a test need not wait for long ones."""

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * 0.1 * self.random()


class Bench:
    """Regions in memory, and runs of ``send`` that are read back as JSON."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World()
        self.stack = AsyncExitStack()

    async def region(self, name: str = "fr") -> TusServer:
        return await self.stack.enter_async_context(TusServer(self.world, name).running())

    def file(self, name: str, size: int, seed: int = 1) -> Path:
        path = self.folder / name
        path.write_bytes(content(size, seed))
        return path

    async def send(
        self, files: Sequence[Path], server: TusServer, **changes: Any
    ) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
        """Send *files* and return the exit code, the lines of files, and the summary."""
        plan = Plan(
            files=wanted(files, folder=changes.pop("folder", ""), recursive=True),
            control=server.url,
            nodes=[],
            token=TOKEN,
            waits=IMPATIENT,
            follow_s=20.0,
            in_json=True,
        )
        out = io.StringIO()
        shown = screen(out, io.StringIO(), in_json=True)
        code = await Run(replace(plan, **changes), shown, Hasty(1)).run()
        lines = [json.loads(line) for line in out.getvalue().splitlines()]
        assert lines[-1]["type"] == "summary"
        return code, lines[:-1], lines[-1]

    async def told(self, files: Sequence[Path], server: TusServer, **changes: Any) -> str:
        """Send *files* and return what a person reads."""
        recursive = changes.pop("recursive", True)
        plan = Plan(wanted(files, folder="", recursive=recursive), server.url, [], TOKEN, **changes)
        out = io.StringIO()
        await Run(plan, screen(out, io.StringIO(), in_json=False), Hasty(1)).run()
        return out.getvalue()

    def arrived(self) -> dict[str, str]:
        """Return the digest of each whole upload by name; fails if one is there twice."""
        whole = self.world.whole()
        assert len({one.name for one in whole}) == len(whole)
        return {one.name: hashlib.sha256(one.data).hexdigest() for one in whole}


def bench(folder: Path, test: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        on = Bench(folder)
        async with on.stack:
            await test(on)

    real_loop(main())


def test_several_files_arrive_whole_and_are_followed_to_the_end(tmp_path: Path) -> None:
    async def test(on: Bench) -> None:
        fr = await on.region()
        sizes = {"a.jpg": 100, "empty": 0, "b \u00fc.jpg": 3 * SEND_READ_BYTES + 7, "c": 1}
        files = [on.file(name, size, size) for name, size in sizes.items()]
        code, lines, summary = await on.send(files, fr, folder="2026/match", at_once=2)
        assert code == 0
        digests = {f"2026/match/{path.name}": digest(path) for path in files}
        assert on.arrived() == digests
        assert {line["name"]: line["sha256"] for line in lines} == digests
        assert {line["state"] for line in lines} == {"delivered"}
        assert {line["region"] for line in lines} == {"fr"}
        assert lines[0]["deliveries"][0]["state"] == "delivered"
        assert summary["files"] == summary["delivered"] == 4
        assert summary["bytes"] == sum(sizes.values())
        assert summary["regions"] == {"fr": 4}
        assert summary["attribution"] == ["Data by X"]

    bench(tmp_path, test)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("method", "faults"),
    [
        ("PATCH", [Fault(take=100_000), Fault(take=1), Fault(take=0)]),
        ("PATCH", [Fault(is_lost=True)]),
        ("PATCH", [Fault(status=409), Fault(status=423), Fault(status=500)]),
        ("PATCH", [Fault(status=503, headers={"Retry-After": "0"})]),
        ("PATCH", [Fault(take=50_000, forget=False), Fault(forget=True), Fault(status=410)]),
        ("PATCH", [Fault(stall_s=1.5)]),
        ("POST", [Fault(is_lost=True), Fault(status=507), Fault(status=429)]),
        ("HEAD", [Fault(status=423), Fault(is_lost=True), Fault(status=502)]),
    ],
)
def test_whatever_goes_wrong_on_the_way_it_arrives_once(
    tmp_path: Path, method: str, faults: list[Fault]
) -> None:
    async def test(on: Bench) -> None:
        fr = await on.region()
        fr.order(method, *faults)
        if method == "HEAD":
            fr.order("PATCH", Fault(take=10_000))
        path = on.file("a.jpg", 2 * SEND_READ_BYTES)
        code, lines, _ = await on.send([path], fr)
        assert code == 0, lines
        assert on.arrived() == {"a.jpg": digest(path)}
        assert lines[0]["sha256"] == digest(path)
        assert lines[0]["interruptions"] > 0

    bench(tmp_path, test)


@pytest.mark.parametrize("fault", [Fault(is_lost=True), Fault(take=0), Fault(stall_s=1.0)])
def test_an_empty_file_arrives_once_too(tmp_path: Path, fault: Fault) -> None:
    async def test(on: Bench) -> None:
        fr = await on.region()
        fr.order("PATCH", fault)
        code, _, _ = await on.send([on.file("empty", 0)], fr)
        assert code == 0
        assert on.arrived() == {"empty": hashlib.sha256().hexdigest()}

    bench(tmp_path, test)


def test_a_lost_last_answer_and_a_lost_upload_are_cleared_up_by_control(tmp_path: Path) -> None:
    async def test(on: Bench) -> None:
        fr = await on.region()
        fr.order("PATCH", Fault(is_lost=True))
        fr.order("HEAD", Fault(status=410))
        path = on.file("a.jpg", 1000)
        code, _, _ = await on.send([path], fr)
        assert code == 0
        assert on.arrived() == {"a.jpg": digest(path)}
        assert fr.asked.count("POST") == 1

    bench(tmp_path, test)


def test_what_may_have_arrived_is_not_sent_again_and_that_is_said(tmp_path: Path) -> None:
    async def test(on: Bench) -> None:
        fr = await on.region()
        on.world.hears = False
        fr.order("PATCH", Fault(is_lost=True))
        fr.order("HEAD", *[Fault(status=404)] * 50)
        patience = Patience(give_up_s=1.0)
        code, lines, _ = await on.send([on.file("a.jpg", 1000)], fr, patience=patience)
        assert code == 1
        assert "may have arrived" in lines[0]["error"]
        assert lines[0]["upload"] in lines[0]["error"]
        assert fr.asked.count("POST") == 1

    bench(tmp_path, test)


def test_the_next_region_takes_over_and_the_first_keeps_nothing(tmp_path: Path) -> None:
    async def test(on: Bench) -> None:
        fr, us = await on.region("fr"), await on.region("us")
        fr.order("PATCH", Fault(take=100_000), *[Fault(status=503)] * 20)
        fr.order("HEAD", *[Fault(status=503)] * 20)
        path = on.file("a.jpg", 3 * SEND_READ_BYTES)
        patience = Patience(failures_max=3)
        code, lines, summary = await on.send([path], us, patience=patience)
        assert code == 0
        assert lines[0]["region"] == "us"
        assert summary["regions"] == {"us": 1}
        assert on.arrived() == {"a.jpg": digest(path)}
        assert all(one.is_ended for one in fr.mine.values())
        assert us.asked.count("ROUTE") == 2

    bench(tmp_path, test)


def test_a_region_that_is_dead_from_the_start_is_passed_over(tmp_path: Path) -> None:
    async def test(on: Bench) -> None:
        fr, us = await on.region("fr"), await on.region("us")
        await fr.stop()
        path = on.file("a.jpg", 10)
        code, lines, _ = await on.send([path], us, patience=Patience(failures_max=2))
        assert (code, lines[0]["region"]) == (0, "us")

    bench(tmp_path, test)


def test_what_was_left_at_a_node_that_is_away_is_ended_when_it_is_back(tmp_path: Path) -> None:
    async def test(on: Bench) -> None:
        fr, us = await on.region("fr"), await on.region("us")
        fr.order("PATCH", Fault(take=100_000))
        away = [Fault(status=500)] * 20
        fr.order("HEAD", *away)
        fr.order("DELETE", Fault(is_lost=False, status=503))
        path = on.file("a.jpg", 3 * SEND_READ_BYTES)
        patience = Patience(failures_max=2)
        code, lines, summary = await on.send([path], us, patience=patience)
        assert (code, lines[0]["region"]) == (0, "us")
        assert fr.asked.count("DELETE") == 2
        assert summary["left"] == 0
        assert all(one.is_ended for one in fr.mine.values())

    bench(tmp_path, test)


def test_the_region_that_was_chosen_is_waited_for(tmp_path: Path) -> None:
    async def test(on: Bench) -> None:
        fr, us = await on.region("fr"), await on.region("us")
        fr.order("POST", *[Fault(status=503)] * 3)
        files, patience = [on.file("a.jpg", 10)], Patience(failures_max=1)
        code, lines, _ = await on.send(files, us, patience=patience, region=Region.FR)
        assert (code, lines[0]["region"]) == (0, "fr")
        with pytest.raises(NobodyAnswers, match="region sg is not open to you; there is: fr, us"):
            await on.send(files, us, region=Region.SG)

    bench(tmp_path, test)


def test_a_line_that_breaks_and_stalls_costs_no_byte_twice(tmp_path: Path) -> None:
    async def test(on: Bench) -> None:
        fr = await on.region()
        relay = Relay(int(fr.url.rpartition(":")[2]))
        async with relay.running():
            path = on.file("big", 10 * SEND_READ_BYTES)
            mib = SEND_READ_BYTES
            relay.cut_after = [2 * mib, 4 * mib, 6 * mib]
            stalled: list[int] = []

            async def stall(kept: Kept) -> None:
                if not stalled and len(kept.data) > 7 * mib:
                    stalled.append(1)
                    relay.stall()
                    asyncio.get_running_loop().call_later(1.0, relay.resume)

            fr.on_bytes = stall
            direct, fr.url = fr.url, relay.url
            code, lines, _ = await on.send([path], fr)
            fr.url = direct
            assert code == 0, lines
            assert stalled
            assert relay.connections >= 4
            assert on.arrived() == {"big": digest(path)}
            assert fr.asked.count("POST") == 1

    bench(tmp_path, test)


def test_a_server_that_is_restarted_is_waited_for(tmp_path: Path) -> None:
    async def test(on: Bench) -> None:
        fr = await on.region()
        was_killed = asyncio.Event()

        async def kill(kept: Kept) -> None:
            if len(kept.data) > SEND_READ_BYTES and not was_killed.is_set():
                was_killed.set()
                asyncio.get_running_loop().call_soon(stopping.set)

        stopping = asyncio.Event()

        async def restart() -> None:
            await stopping.wait()
            await fr.stop()
            await asyncio.sleep(0.5)
            await fr.start()

        fr.on_bytes = kill
        path = on.file("big", 16 * SEND_READ_BYTES)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(restart())
            sending = tasks.create_task(on.send([path], fr))
        code, lines, _ = sending.result()
        assert code == 0, lines
        assert on.arrived() == {"big": digest(path)}

    bench(tmp_path, test)


def test_a_file_that_changes_is_ended_there_and_the_others_go_on(tmp_path: Path) -> None:
    async def test(on: Bench) -> None:
        fr = await on.region()
        changing = on.file("changing", 8 * SEND_READ_BYTES)

        async def change(kept: Kept) -> None:
            if kept.name == "changing" and len(kept.data) < SEND_READ_BYTES:
                with changing.open("ab") as file:
                    file.write(b"more")

        fr.on_bytes = change
        good = on.file("good", 5000)
        code, lines, summary = await on.send([changing, good], fr, at_once=1)
        assert code == 1
        by_name = {line["name"]: line for line in lines}
        assert by_name["changing"]["error"].startswith("changed while it was sent; send it again")
        assert by_name["good"]["state"] == "delivered"
        assert on.arrived() == {"good": digest(good)}
        assert [one.is_ended for one in fr.mine.values()] == [True, False]
        assert (summary["failed"], summary["delivered"]) == (1, 1)

    bench(tmp_path, test)


def test_what_cannot_be_sent_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    async def test(on: Bench) -> None:
        fr = await on.region()
        os.mkfifo(tmp_path / "pipe")
        good = on.file("good", 10)
        code, lines, _ = await on.send([tmp_path / "none", tmp_path / "pipe", good], fr)
        assert code == 1
        errors = {line["name"]: line["error"] for line in lines}
        assert errors["none"] == "is not there; check the path"
        assert "no regular file" in errors["pipe"]
        assert errors["good"] == ""

    bench(tmp_path, test)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"state": "failed", "committed_at": None}, "the upload failed"),
        ({"digest": "sha256:00"}, "another SHA-256"),
    ],
)
def test_a_delivery_that_does_not_come_about_is_a_failure(
    tmp_path: Path, told: dict[str, Any], said: str
) -> None:
    async def test(on: Bench) -> None:
        fr = await on.region()
        on.world.states["a"] = told
        code, lines, _ = await on.send([on.file("a", 5)], fr)
        assert code == 1
        assert said in lines[0]["error"]
        code, lines, _ = await on.send([on.file("a", 5)], fr, follow_s=0.0)
        assert (code, lines[0]["state"]) == (0, "uploaded")

    bench(tmp_path, test)


def test_what_was_taken_whole_and_waits_did_not_fail(tmp_path: Path) -> None:
    async def test(on: Bench) -> None:
        fr = await on.region()
        held = {"destination": "ds_1", "state": "parked", "attempts": 3, "error": "forbidden"}
        on.world.states["a"] = {"state": "delivering", "deliveries": [held]}
        on.world.labels["ds_1"] = "Desk"
        code, lines, summary = await on.send([on.file("a", 5), on.file("b", 6)], fr)
        assert code == 3
        assert {line["name"]: line["state"] for line in lines} == {"a": "taken", "b": "delivered"}
        (waits,) = [line["error"] for line in lines if line["error"]]
        assert waits.startswith("its delivery to Desk waits: This is not allowed")
        assert (summary["taken"], summary["failed"], summary["bytes"]) == (1, 0, 11)

    bench(tmp_path, test)


@pytest.mark.parametrize(
    ("reason", "region", "names_source"),
    [("geoip", None, True), ("default", None, False), ("geoip", Region.FR, False)],
)
def test_whose_data_it_is_is_said_where_the_place_was_used(
    tmp_path: Path, reason: str, region: Region | None, *, names_source: bool
) -> None:
    async def test(on: Bench) -> None:
        fr = await on.region()
        fr.reason = reason
        files = [on.file("12:30.jpg", 5), on.file("12:31.jpg", 5)]
        said = await on.told(files, fr, region=region)
        assert ("(Data by X)" in said) is names_source
        assert said.count("Not every system holds a colon") == 1

    bench(tmp_path, test)


def test_a_folder_by_mistake_is_not_said_to_be_sent(tmp_path: Path) -> None:
    async def test(on: Bench) -> None:
        fr = await on.region()
        (tmp_path / "empty").mkdir()
        said = await on.told([tmp_path / "empty"], fr, recursive=False)
        assert "Sending 0" not in said
        assert "Nothing of what you named can be sent." in said
        assert "with -r (--recursive)" in said

    bench(tmp_path, test)


@pytest.mark.reaches("SEND_FOLLOW_S")
def test_deliveries_are_waited_for_a_bounded_time(tmp_path: Path) -> None:
    assert Plan([], "", [], "").follow_s <= SEND_FOLLOW_S

    async def test(on: Bench) -> None:
        fr = await on.region()
        on.world.states["a"] = {"state": "delivering"}
        code, lines, _ = await on.send([on.file("a", 5)], fr, follow_s=0.5)
        assert (code, lines[0]["state"]) == (3, "taken")
        assert "not delivered after 0.5 s" in lines[0]["error"]

    bench(tmp_path, test)


@pytest.mark.parametrize("token", ["wrong"])
def test_a_token_that_is_not_accepted_is_said(tmp_path: Path, token: str) -> None:
    async def test(on: Bench) -> None:
        fr = await on.region()
        hint = "the token came from --token"
        code, lines, _ = await on.send([on.file("a", 5)], fr, token=token, hint=hint)
        assert code == 1
        assert lines[0]["error"] == f"Sign-in failed; {hint}"
        fr.route_status = 401
        with pytest.raises(NobodyAnswers, match=f"the token is not accepted.*; {hint}"):
            await on.send([on.file("a", 5)], fr, hint=hint)

    bench(tmp_path, test)


def test_nobody_who_answers_is_said_with_the_cure(tmp_path: Path) -> None:
    async def test(on: Bench) -> None:
        fr = await on.region()
        await fr.stop()
        with pytest.raises(NobodyAnswers, match=r"does not answer: no connection .*--control"):
            await on.send([on.file("a", 5)], fr)

    bench(tmp_path, test)


def test_a_node_says_the_way_while_control_is_away(tmp_path: Path) -> None:
    async def test(on: Bench) -> None:
        fr, us = await on.region("fr"), await on.region("us")
        await us.stop()
        code, lines, _ = await on.send(
            [on.file("a", 5)], us, nodes=[fr.url], follow_s=0.0, lab_client="203.0.113.9"
        )
        assert (code, lines[0]["region"]) == (0, "fr")
        assert fr.lab_clients == ["203.0.113.9"]

    bench(tmp_path, test)


@pytest.mark.reaches("SEND_LEAVE_S")
def test_ctrl_c_ends_what_is_unfinished_and_accounts_for_all(tmp_path: Path) -> None:
    async def test(on: Bench) -> None:
        fr = await on.region()
        on.world.states["done"] = {"state": "delivering"}

        async def interrupt(kept: Kept) -> None:
            if kept.name == "big" and len(kept.data) > SEND_READ_BYTES:
                fr.on_bytes = None
                os.kill(os.getpid(), signal.SIGINT)

        fr.on_bytes = interrupt
        files = [on.file("done", 5), on.file("big", 32 * SEND_READ_BYTES), on.file("later", 5)]
        code, lines, summary = await on.send(files, fr, at_once=1)
        assert code == 130
        states = {line["name"]: line["state"] for line in lines}
        assert states == {"done": "uploaded", "big": "stopped", "later": "stopped"}
        errors = {line["name"]: line["error"] for line in lines}
        assert errors["later"] == "nothing of it was sent"
        assert " of 33.6 MB that went to fr are destroyed there; sending it" in errors["big"]
        assert summary["interrupted"] is True
        assert list(on.arrived()) == ["done"]
        assert all(one.is_ended for one in fr.mine.values() if one.name == "big")

    bench(tmp_path, test)
