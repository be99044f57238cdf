"""New uploads that come to one region and belong to another, with curl and the real doors."""

import asyncio
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from edge.handover import Flaw
from edge.http.handed import QUERY
from edge.meters import HandingMeters
from edge.nearest import Why
from edge.snapshot import AccountState, Entry
from geo.health import Health
from geo.region import Region
from tests.support.regions import (
    SG,
    SINGAPORE,
    US,
    VIRGINIA,
    NeedsTls,
    Pinned,
    Regions,
    run,
)
from tests.support.snapshots import Customer
from zentransfer.limits import HANDOVER_PATH_CHARS_MAX, HANDOVER_S, NEAREST_FROM_BYTES

pytestmark = pytest.mark.peer

SIZE = 3 << 20
CONTENT = random.Random(1).randbytes(SIZE)
TUS = ("-H", "Tus-Resumable: 1.0.0", "-H", f"Upload-Length: {SIZE}")
TUSPY = """
import sys
from tusclient.client import TusClient
url, token, path, near = sys.argv[1:]
headers = {"Authorization": f"Bearer {token}", "ZT-Lab-Client": near}
uploader = TusClient(url, headers=headers).uploader(path, chunk_size=1 << 20)
uploader.upload()
print(uploader.url)
"""


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    path = tmp_path / "sent.bin"
    path.write_bytes(CONTENT)
    return path


def test_curl_is_sent_on_before_the_body_and_needs_no_credential_there(sent: Path) -> None:
    async def test(both: Regions) -> None:
        reply = await both.curl(f"{both.us.entry}/in/a%20b.bin", "-L", "-T", str(sent))
        assert reply.statuses == [307, 100, 201], "no 100 before: the body crosses the line once"
        assert json.loads(reply.body)["region"] == "sg"
        assert both.sizes() == {US: [], SG: [SIZE]}
        assert await both.sg.content() == CONTENT
        (method, target, is_signed), *more = both.sg.seen
        assert (method, is_signed, more) == ("PUT", False, []), (
            "curl drops it when the port is another"
        )
        assert target.startswith(f"/in/a%20b.bin?{QUERY}=")
        assert both.us.nearest.ways == {Why.NEARER: 1}

    run(test)


def test_a_small_body_that_nobody_asked_for_is_sent_again(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(bytes(NEAREST_FROM_BYTES))

    async def test(both: Regions) -> None:
        reply = await both.curl(
            f"{both.us.entry}/in/a", "-L", "-H", "Expect:", "-T", str(path), client=SINGAPORE
        )
        assert reply.statuses == [307, 201]
        assert both.sizes() == {US: [], SG: [NEAREST_FROM_BYTES]}

    run(test)


def test_what_comes_by_a_pipe_follows_where_it_waits_for_our_word() -> None:
    async def test(both: Regions) -> None:
        url = f"{both.us.entry}/in/a"
        reply = await both.curl(url, "-L", "-T", "-", stdin=CONTENT)
        assert reply.statuses == [307, 100, 201]
        assert both.sizes() == {US: [], SG: [SIZE]}
        reply = await both.curl(url, "-L", "-H", "Expect:", "-T", "-", stdin=CONTENT)
        assert reply.statuses == [201], "it could not be sent again, so it is taken here"
        assert both.sizes()[US] == [SIZE]

    run(test)


def test_who_does_not_follow_hears_where_to_go_and_nothing_is_taken(sent: Path) -> None:
    async def test(both: Regions) -> None:
        for more in ((), ("--expect100-timeout", "20")):
            reply = await both.curl(f"{both.us.entry}/in/a", *more, "-T", str(sent))
            assert reply.statuses == [307]
            assert reply.fields["location"].startswith(f"{both.sg.url}/in/a?{QUERY}=")
            assert reply.fields["cache-control"] == "no-store"
            assert (both.sg.seen, both.us.node.intake.in_flight) == ([], 0)

    run(test)


def test_what_does_not_belong_elsewhere_is_taken_here(sent: Path) -> None:
    async def test(both: Regions) -> None:
        upload = ("-L", "-T", str(sent))
        cases = {
            Why.NEAREST: await both.curl(f"{both.us.entry}/in/a", *upload, client=VIRGINIA),
            Why.CANNOT_FOLLOW: await both.curl(
                f"{both.us.entry}/in/a", "-H", "Origin: https://a.example", *upload
            ),
            Why.SMALL: await both.curl(f"{both.us.entry}/in/a", "-L", "-d", "abc"),
        }
        for reply in cases.values():
            assert (reply.status, 307 in reply.statuses) == (201, False)
        assert both.us.nearest.ways == dict.fromkeys(cases, 1)
        unknown = await both.curl(f"{both.sg.entry}/in/a", *upload, client="192.0.2.1")
        assert (unknown.statuses, both.sg.nearest.ways) == ([100, 201], {Why.UNKNOWN: 1})
        # By the region's own name it is not even considered.
        assert (await both.curl(f"{both.us.url}/in/a", *upload)).statuses == [100, 201]
        reply = await both.curl(f"{both.us.entry}/in/", "-L", "-F", f"a=@{sent}")
        assert (reply.status, 307 in reply.statuses) == (201, False)
        assert (both.us.nearest.ways.total(), len(both.sg.seen)) == (4, 1)

    run(test)


def test_a_stranger_learns_no_region_and_is_refused_as_ever(sent: Path) -> None:
    async def test(both: Regions) -> None:
        wrong = both.us.customer.token[:-1] + "x"
        for token in (wrong, "zt_nobody22_" + "a" * 20, ""):
            reply = await both.curl(f"{both.us.entry}/in/a", "-L", "-T", str(sent), token=token)
            assert reply.statuses == [401]
            assert json.loads(reply.body)["code"] == "unauthenticated"
        long = "x" * HANDOVER_PATH_CHARS_MAX
        reply = await both.curl(f"{both.us.entry}/in/{long}", "-L", "-T", str(sent))
        assert 307 not in reply.statuses, "it would not fit with a ticket"
        assert both.sg.seen == []

    run(test)


async def handed(both: Regions, path: str = "/in/a", *options: str) -> str:
    """Return the URL to which us sends a client on."""
    put = ("-X", "PUT", "-H", f"Content-Length: {NEAREST_FROM_BYTES}")
    reply = await both.curl(
        both.us.entry + path, *(options or (*put, "-H", "Expect: 100-continue"))
    )
    assert reply.status == 307, reply
    return reply.fields["location"]


async def shown(both: Regions, url: str, size: int = NEAREST_FROM_BYTES) -> int:
    """Show a ticket with a body and no credential; returns the status."""
    body = ("-X", "PUT", "-H", "Expect: 100-continue", "--data-binary", "@-")
    reply = await both.curl(url, *body, token="", stdin=bytes(size))
    if reply.status == 401:
        assert reply.statuses == [401], "refused before the body"
    return reply.status


def test_a_ticket_is_good_once() -> None:
    async def test(both: Regions) -> None:
        url = await handed(both)
        assert [await shown(both, url) for _ in range(3)] == [201, 401, 401]
        assert both.sizes()[SG] == [NEAREST_FROM_BYTES]
        assert both.sg.nearest.flaws == {Flaw.SPENT: 2}

    run(test)


def test_a_ticket_is_for_one_region_size_and_minute_and_of_one_piece() -> None:
    async def test(both: Regions) -> None:
        url = await handed(both)
        assert await shown(both, url, NEAREST_FROM_BYTES + 1) == 401
        # Not the last letter: some of its bits stand for nothing, and must not be set.
        forged = url[:-9] + ("A" if url[-9] != "A" else "B") + url[-8:]
        assert await shown(both, forged) == 401
        assert await shown(both, url.replace(both.sg.url, both.us.url)) == 401
        assert await shown(both, url.partition("=")[0] + "=") == 401
        both.sg.node.clock.advance(int(HANDOVER_S * 1000))
        assert await shown(both, url) == 401
        assert set(both.sg.nearest.flaws) == {
            *(Flaw.OTHER_SIZE, Flaw.FORGED, Flaw.MALFORMED, Flaw.EXPIRED)
        }
        assert both.us.nearest.flaws == {Flaw.ELSEWHERE: 1}
        assert both.sizes() == {US: [], SG: []}

    run(test)


def test_a_ticket_of_a_credential_that_was_revoked_meanwhile_opens_nothing() -> None:
    async def test(both: Regions) -> None:
        of = both.sg.customer
        moved = replace(of.credential(), workflow_id=Customer(1).workflow_id)
        without: list[list[Entry]] = [
            [of.credential(), of.workflow()],
            [of.account(), of.workflow()],
            [of.account(), of.credential()],
            [of.account(), of.workflow(), moved],
            [replace(of.account(), epoch=1), of.credential(), of.workflow()],
        ]
        for entries in without:
            url = await handed(both)
            await both.sg.learn(*entries)
            assert await shown(both, url) in {401, 403}
            await both.sg.learn(*of.entries())
            assert await shown(both, url) == 201, "it was not spent by that"

    run(test)


def test_a_region_that_is_full_says_so_and_the_ticket_may_be_shown_again() -> None:
    async def test(both: Regions) -> None:
        url = await handed(both)
        both.sg.node.is_admitting = False
        assert await shown(both, url) == 503
        both.sg.node.is_admitting = True
        assert await shown(both, url) == 201

    run(test)


def test_who_was_sent_on_is_not_sent_back() -> None:
    async def test(both: Regions) -> None:
        url = await handed(both)
        entry = url.replace(both.sg.url, both.sg.entry)
        reply = await both.curl(
            entry,
            "-L",
            "-X",
            "PUT",
            "--data-binary",
            "@-",
            client=VIRGINIA,
            token="",
            stdin=bytes(NEAREST_FROM_BYTES),
        )
        assert (reply.status, 307 in reply.statuses) == (201, False)
        assert both.sg.nearest.ways == {Why.HANDED: 1}

    run(test)


def test_a_pinned_account_s_upload_reaches_its_region_from_wherever(sent: Path) -> None:
    async def test(both: Regions) -> None:
        for url in (both.us.entry, both.us.url):
            for client in (VIRGINIA, SINGAPORE):
                reply = await both.curl(f"{url}/in/a", "-L", "-T", str(sent), client=client)
                assert reply.statuses == [307, 100, 201]
        reply = await both.curl(f"{both.us.url}/in/a", "-L", "-d", "abc", client=VIRGINIA)
        assert reply.statuses == [307, 201], "a small one too"
        assert both.sizes() == {US: [], SG: [*[SIZE] * 4, 3]}
        assert both.us.nearest.ways == {Why.PINNED_ELSEWHERE: 5}
        # At home nothing moves it: not latency, not a region that leaves.
        both.sg.health = Health(frozenset(Region) - {SG})
        reply = await both.curl(f"{both.sg.entry}/in/a", "-L", "-T", str(sent), client=VIRGINIA)
        assert reply.statuses == [100, 201]

    run(test, us=Pinned(SG, region=US), sg=Pinned(SG, region=SG))


def test_regions_that_disagree_about_a_pin_send_nobody_round(sent: Path) -> None:
    async def test(both: Regions) -> None:
        reply = await both.curl(f"{both.us.url}/in/a", "-L", "-T", str(sent))
        assert reply.statuses == [307, 307, 421], "two hand-overs, then an end"
        assert both.sizes() == {US: [], SG: []}

    run(test, us=Pinned(SG, region=US), sg=Pinned(US, region=SG))


def test_an_account_that_is_pinned_elsewhere_is_unknown_as_everybody_is(sent: Path) -> None:
    async def test(both: Regions) -> None:
        other = Customer(5, region=SG)  # in the snapshot of its region alone
        reply = await both.curl(f"{both.us.entry}/in/a", "-L", "-T", str(sent), token=other.token)
        assert reply.statuses == [401]

    run(test)


def test_a_full_region_sends_on_only_where_the_settings_say_so(sent: Path) -> None:
    async def full(both: Regions) -> None:
        both.sg.node.intake.tools = replace(both.sg.node.intake.tools, lag_s=lambda: 9.0)

    async def sends(both: Regions) -> None:
        await full(both)
        reply = await both.curl(f"{both.sg.url}/in/a", "-L", "-T", str(sent))
        assert reply.statuses == [307, 100, 201]
        assert both.sg.nearest.ways == {Why.SPILLED: 1}
        assert both.sizes() == {US: [SIZE], SG: []}

    async def refuses(both: Regions) -> None:
        await full(both)
        reply = await both.curl(f"{both.sg.url}/in/a", "-L", "-T", str(sent))
        assert reply.statuses == [503]

    run(sends, spill=True)
    run(refuses)


def test_a_region_that_leaves_sends_on_from_the_entry_name(sent: Path) -> None:
    async def test(both: Regions) -> None:
        both.sg.health = Health(frozenset(Region) - {SG})
        both.sg.node.is_admitting = False
        reply = await both.curl(f"{both.sg.entry}/in/a", "-L", "-T", str(sent))
        assert reply.statuses == [307, 100, 201]
        assert both.sg.nearest.ways == {Why.LEAVING: 1}
        assert (await both.curl(f"{both.sg.url}/in/a", "-L", "-T", str(sent))).statuses == [503]

    run(test)


def test_an_upload_of_tus_is_created_in_the_region_that_it_is_sent_on_to(sent: Path) -> None:
    async def test(both: Regions) -> None:
        reply = await both.curl(f"{both.us.entry}/files/", "-L", "-X", "POST", *TUS)
        assert reply.statuses == [307, 201]
        address = reply.fields["location"]
        assert address.startswith(f"{both.sg.url}/files/sg-"), (
            "an ordinary address, without a ticket"
        )
        assert "?" not in address
        patch = (
            *("-X", "PATCH", "-H", "Tus-Resumable: 1.0.0", "-H", "Upload-Offset: 0"),
            *("-H", "Content-Type: application/offset+octet-stream", "-T", str(sent)),
        )
        assert (await both.curl(address, *patch)).status == 204
        assert await both.sg.content() == CONTENT
        assert both.sizes()[US] == []

    run(test)


def test_a_tus_client_that_is_not_known_to_follow_is_served() -> None:
    async def test(both: Regions) -> None:
        reply = await both.curl(f"{both.us.entry}/files/", "-X", "POST", "-A", "", *TUS)
        assert reply.statuses == [201]
        assert reply.fields["location"].startswith(f"{both.us.url}/files/us-")

    run(test)


def test_a_refused_ticket_is_told_to_a_tus_client_as_tus_tells_it() -> None:
    async def test(both: Regions) -> None:
        url = await handed(both, "/files/", "-X", "POST", *TUS)
        assert (await both.curl(url, "-X", "POST", *TUS, token="")).status == 201
        again = await both.curl(url, "-X", "POST", *TUS, token="")
        assert (again.status, again.fields["tus-resumable"]) == (401, "1.0.0")
        short = ("-H", "Tus-Resumable: 1.0.0", "-H", "Upload-Length: 5")
        url = await handed(both, "/files/", "-X", "POST", *TUS)
        assert (await both.curl(url, "-X", "POST", *short, token="")).status == 401

    run(test)


def test_what_is_created_by_the_entry_name_goes_on_by_the_region_s_own() -> None:
    async def test(both: Regions) -> None:
        reply = await both.curl(f"{both.sg.entry}/files/", "-X", "POST", *TUS)
        assert reply.statuses == [201]
        assert reply.fields["location"].startswith(f"{both.sg.url}/files/sg-")
        begun = ("-H", "Upload-Complete: ?0", "-H", f"Upload-Length: {SIZE}")
        reply = await both.curl(f"{both.sg.entry}/files/", "-X", "POST", *begun)
        assert reply.fields["location"].startswith(f"{both.sg.url}/files/sg-")

    run(test)


def test_tuspy_creates_near_and_goes_on_there(sent: Path) -> None:
    async def test(both: Regions) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", TUSPY, f"{both.us.entry}/files/"),
            *(both.us.customer.token, str(sent), SINGAPORE),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        assert out.decode().startswith(f"{both.sg.url}/files/sg-")
        assert await both.sg.content() == CONTENT
        assert [method for method, _, _ in both.us.seen] == ["POST"]

    run(test)


def test_an_upload_of_the_ietf_s_dialect_is_sent_on_whole_or_begun(sent: Path) -> None:
    async def test(both: Regions) -> None:
        whole = ("-L", "-H", "Upload-Complete: ?1", "--data-binary", f"@{sent}")
        for path in ("/in/a", "/files/"):
            reply = await both.curl(f"{both.us.entry}{path}", "-X", "POST", *whole)
            assert (reply.statuses[0], reply.status) == (307, 201)
        begun = ("-L", "-X", "POST", "-H", "Upload-Complete: ?0", "-H", f"Upload-Length: {SIZE}")
        reply = await both.curl(
            f"{both.us.entry}/in/a", *begun, "-H", "Upload-Draft-Interop-Version: 8", "-d", "abc"
        )
        assert reply.statuses == [307, 104, 201]
        assert reply.fields["location"].startswith(f"{both.sg.url}/files/sg-")
        assert both.sizes() == {US: [], SG: [SIZE, SIZE]}

    run(test)


def test_a_credential_that_needs_tls_is_not_sent_on_without(sent: Path) -> None:
    async def test(both: Regions) -> None:
        reply = await both.curl(f"{both.us.entry}/in/a", "-L", "-T", str(sent))
        assert reply.statuses == [403]
        assert both.sg.seen == []

    run(test, us=NeedsTls(region=US), sg=NeedsTls(region=SG))


def test_who_came_by_tls_is_not_sent_where_others_could_read_the_ticket(sent: Path) -> None:
    async def test(both: Regions) -> None:
        by_tls = ("-H", "Forwarded: for=203.0.113.9;proto=https")
        reply = await both.curl(f"{both.us.entry}/in/a", *by_tls, "-L", "-T", str(sent))
        assert reply.statuses == [100, 201]
        reply = await both.curl(f"{both.us.entry}/files/", "-X", "POST", *by_tls, *TUS)
        assert reply.fields["location"].startswith(both.us.entry.replace("http:", "https:"))
        assert both.sg.seen == []

    run(test)


def test_what_was_decided_is_counted_by_why(sent: Path) -> None:
    async def test(both: Regions) -> None:
        registry = CollectorRegistry()
        HandingMeters(both.us.nearest, registry)
        await both.curl(f"{both.us.entry}/in/a", "-T", str(sent))
        await both.curl(f"{both.us.url}/in/a?{QUERY}=x", "-T", str(sent))
        shown = generate_latest(registry).decode()
        assert 'zt_new_uploads_total{why="nearer"} 1.0' in shown
        assert 'zt_tickets_refused_total{flaw="malformed"} 1.0' in shown

    run(test)


def test_a_suspended_account_is_not_sent_on(sent: Path) -> None:
    async def test(both: Regions) -> None:
        reply = await both.curl(f"{both.us.entry}/in/a", "-L", "-T", str(sent))
        assert reply.statuses == [403]

    run(test, us=Customer(region=US, state=AccountState.SUSPENDED))


def test_no_ticket_is_in_the_log(
    sent: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def test(both: Regions) -> None:
        url = await handed(both)
        await shown(both, url)
        await shown(both, url)
        ticket = url.partition("=")[2]
        out, err = capfd.readouterr()
        assert ticket not in out + err + caplog.text

    run(test)
