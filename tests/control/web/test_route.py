import dataclasses
from typing import Any

from control.accounts.model import CredentialKind
from tests.control.web.serving import Desk, served
from tests.support.real_loop import real_loop
from zentransfer.ids import Region


async def asked(desk: Desk, bearer: str | None) -> tuple[int, Any]:
    return await desk.call("GET", "/../../route", bearer)


def regions(document: Any) -> list[str]:
    return [one["region"] for one in document["regions"]]


def test_anybody_may_ask_and_an_unpinned_account_may_go_anywhere() -> None:
    async def main() -> None:
        async with served() as desk:
            _, token = await desk.account("a")
            for bearer in (None, token):
                status, document = await asked(desk, bearer)
                assert status == 200
                assert regions(document) == ["fr", "us", "sg"]
                assert document["reason"] == "default"

    real_loop(main())


def test_a_pinned_account_is_shown_its_own_region_only() -> None:
    async def main() -> None:
        async with served() as desk:
            account, token = await desk.account("a")
            async with desk.services.database.write() as uow:
                await uow.accounts.put(dataclasses.replace(account, pin=Region.SG))
            status, document = await asked(desk, token)
            assert (status, regions(document), document["reason"]) == (200, ["sg"], "pinned")

    real_loop(main())


def test_a_token_that_is_not_good_is_refused() -> None:
    async def main() -> None:
        async with served() as desk:
            account, token = await desk.account("a")
            _, of_camera = await desk.issue(account, CredentialKind.FTP)
            for wrong in (token[:-1] + "x", of_camera, "nonsense"):
                assert (await asked(desk, wrong))[0] == 401

    real_loop(main())
