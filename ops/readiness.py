"""Asks processes whether they are ready, and says in a few words why one is not."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

import aiohttp

from zentransfer.health import CheckReport
from zentransfer.limits import READYZ_BYTES_MAX, READYZ_S


@dataclass(frozen=True)
class Answer:
    """Is it ready, and if not, why."""

    ready: bool
    detail: str


def understood(status: int, body: str) -> Answer:
    """Return what an answer of /readyz with this *status* and *body* means."""
    if status == HTTPStatus.OK:
        return Answer(ready=True, detail="")
    try:
        report = json.loads(body)
        checks = cast(dict[str, CheckReport], report["checks"])
        bad = [
            f"{name}: {check['detail']}"
            for name, check in checks.items()
            if check["required"] and not check["ok"]
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        return Answer(ready=False, detail=f"answered {status} and no report")
    return Answer(ready=False, detail="; ".join(bad) or f"answered {status}")


async def ask(client: aiohttp.ClientSession, url: str) -> Answer:
    """Ask one /readyz, for at most ``READYZ_S`` seconds and ``READYZ_BYTES_MAX`` bytes."""
    try:
        async with asyncio.timeout(READYZ_S), client.get(url, allow_redirects=False) as answer:
            body = b""
            async for part in answer.content.iter_any():
                body += part
                if len(body) > READYZ_BYTES_MAX:
                    return Answer(ready=False, detail="answers more than a report")
            return understood(answer.status, body.decode(errors="replace"))
    except TimeoutError:
        return Answer(ready=False, detail=f"does not answer within {READYZ_S:g} s")
    except aiohttp.ClientError:
        return Answer(ready=False, detail="does not answer")


async def ask_all(urls: Iterable[str]) -> dict[str, Answer]:
    """Ask each /readyz of *urls*, all at once; returns the answer by address."""
    # trust_env stays off: these are addresses of this machine, and no proxy's business.
    async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as group:
        tasks = {url: group.create_task(ask(client, url)) for url in urls}
    return {url: task.result() for url, task in tasks.items()}
