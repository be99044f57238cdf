"""What must hold at the end, whatever was killed or failed: content, outcomes and books agree."""

import sqlite3
from collections import Counter
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.ingest_node import Answer
from tests.support.real_system import System, digest
from tests.support.waiting import until


@dataclass
class Sent:
    """What a test sent: digests by name, and the uploads that were acknowledged, by id."""

    digests: dict[str, str] = field(default_factory=dict[str, str])
    acknowledged: dict[str, str] = field(default_factory=dict[str, str])
    proven: set[str] = field(default_factory=set[str])

    def add(self, system: System, name: str, content: Path, token: str, *options: str) -> int:
        """Send a file once; returns the status, 0 for no answer."""
        answer = system.put(name, content, token, *options)
        self.took(answer, name, content)
        return answer.status

    def took(self, answer: Answer, name: str, content: Path) -> None:
        """Note what was answered to a file that was sent."""
        self.digests.setdefault(name, digest(content))
        if answer.status == 201:
            self.acknowledged[answer.json["id"]] = name

    def lacks(self, name: str) -> bool:
        return name not in self.acknowledged.values()


def visible(system: System) -> dict[str, str]:
    """Return the digests of what is at the destination, but for attempts that were cut."""
    root = system.delivered
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".part"]
    return {str(path.relative_to(root)): digest(path) for path in files}


def prove_nothing_partial(system: System, sent: Sent) -> None:
    """Assert that what is visible at the destination was sent so, and is whole."""
    for name, found in visible(system).items():
        assert sent.digests.get(name) == found, f"{name} is not what was sent"


def settle(system: System, within_s: float = 60.0) -> None:
    """Wait until control has heard the end of every upload, and nothing sealed is left."""

    def is_settled() -> bool:
        return system.sealed_files() == [] and all(
            one["state"] == "destroyed" for one in system.uploads()
        )

    until(is_settled, "every upload has ended", within_s)


def prove(system: System, sent: Sent) -> None:
    """Settle, then assert that every promise was kept; then the destination is emptied.

    Of what was not acknowledged, what is whole all the same is delivered and counted like any
    other, and its sender has sent it again by now.
    """
    until(lambda: sent.acknowledged.keys() <= {one["id"] for one in system.uploads()}, "all told")
    settle(system)
    expected = {name: sent.digests[name] for name in sent.acknowledged.values()}
    assert visible(system) == expected
    parts = list(system.delivered.rglob("*.part"))
    assert parts == [], "an attempt left its part behind"
    shown = {one["id"]: one for one in system.uploads()}
    for upload, name in sent.acknowledged.items():
        one = shown[upload]
        assert (one["name"], one["state"]) == (name, "destroyed")
        assert one["digest"] == f"sha256:{sent.digests[name]}"
        assert {each["state"] for each in one["deliveries"]} == {"delivered"}
    _prove_timelines(system, shown.keys() - sent.proven)
    _prove_books(system, shown)
    for name in expected:
        (system.delivered / name).unlink()
    sent.acknowledged.clear()
    sent.digests.clear()
    sent.proven |= shown.keys()


def _prove_timelines(system: System, uploads: Collection[str]) -> None:
    """Assert that each upload ended once, was delivered once and was destroyed once."""
    for upload in uploads:
        events: list[dict[str, Any]] = system.api("GET", f"/uploads/{upload}")["events"]
        types = Counter(event["type"] for event in events)
        ends = types["upload.committed"] + types["upload.failed"]
        assert ends == 1, types
        assert types["delivery.delivered"] == types["upload.committed"], types
        assert types["content.destroyed"] == 1, types


def _prove_books(system: System, shown: dict[str, dict[str, Any]]) -> None:
    """Assert that the ledger holds exactly the bytes of what was committed, each upload once."""
    committed = {id_: one["size"] for id_, one in shown.items() if one["committed_at"]}
    database = system.view / "control" / "control.db"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as books:
        used = dict(
            books.execute(
                "SELECT unit, sum(debit) FROM posting WHERE ledger_account LIKE 'usage:%'"
                " GROUP BY unit"
            )
        )
        taken = dict(
            books.execute(
                "SELECT unit, sum(credit) FROM posting WHERE ledger_account LIKE 'accepted:%'"
                " GROUP BY unit"
            )
        )
        (refused,) = books.execute("SELECT count(*) FROM fact_quarantine").fetchone()
        outcomes = {id_ for (id_,) in books.execute("SELECT upload_id FROM outcome")}
    assert used == taken
    assert {unit.lower(): count for unit, count in used.items() if count} == {
        unit: count
        for unit, count in (("byte", sum(committed.values())), ("file", len(committed)))
        if count
    }
    assert refused == 0
    assert outcomes == set(shown)
