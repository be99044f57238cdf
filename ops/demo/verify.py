"""Does what the demo promises hold?  Looked at from outside: the destinations, the disk, the books.

The rule: digests are computed anew from what lies at the destinations, never taken from a report.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from obstore.store import S3Store

from ops.demo.inputs import Input
from ops.demo.world import BUCKET, DemoFailed, Json, World
from zentransfer.ids import Region

SECRETS: Final = ("demo-key", "demo-secret")  # what the S3 server of the demo is asked with

_SEGMENT: Final = b"ZTSEG"  # the first bytes of everything sealed, see docs/contracts.md
_PART: Final = 1024 * 1024


def folder_digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of the files of *names* in *folder*; what is not there is left out."""
    found: dict[str, str] = {}
    for name in names:
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def s3_digests(world: World, prefix: str) -> dict[str, str]:
    """Return the SHA-256 of every object below *prefix*, by its name below it."""
    store = S3Store(
        BUCKET,
        endpoint=world.s3_url,
        region="us-east-1",
        access_key_id=SECRETS[0],
        secret_access_key=SECRETS[1],
        client_options={"allow_http": True},
    )
    found: dict[str, str] = {}
    # The library leaves Arrow's batches open in this type; we ask for none.
    for page in store.list(prefix):  # pyright: ignore[reportUnknownMemberType]
        for entry in page:
            digest = hashlib.sha256()
            for part in store.get(entry["path"]).stream(min_chunk_size=_PART):
                digest.update(bytes(part))
            found[entry["path"].removeprefix(f"{prefix}/")] = digest.hexdigest()
    return found


def sealed_left(world: World) -> list[Path]:
    """Return the files of sealed content that are still on a node."""
    return [path for region in Region for path in _files(world.folder / region / "sink")]


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                if file.read(len(_SEGMENT)) == _SEGMENT:
                    yield path


def ledger_bytes(world: World) -> int:
    """Return the bytes that control's ledger holds as used by the account.

    Raises :class:`DemoFailed` if its postings do not balance.
    """
    path = world.folder / "control" / "control.db"
    account = f"usage:{world.account()['id']}"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as books:
        ((debit, credit),) = books.execute("SELECT sum(debit), sum(credit) FROM posting")
        ((used,),) = books.execute(
            "SELECT coalesce(sum(debit) - sum(credit), 0) FROM posting"
            " WHERE ledger_account = ? AND unit = 'byte'",
            (account,),
        )
    if debit != credit:
        raise DemoFailed(f"the ledger does not balance: debit {debit}, credit {credit}")
    return int(used)


def check_arrived(inputs: Sequence[Input], where: str, found: dict[str, str]) -> None:
    """Raise :class:`DemoFailed` unless each of *inputs* is *found* with the sender's digest."""
    for one in inputs:
        if one.name not in found:
            raise DemoFailed(f"{one.name} is not in the {where}")
        if found[one.name] != one.digest:
            raise DemoFailed(f"{one.name} is another file in the {where} than was sent")


def check_only(inputs: Sequence[Input], where: str, names: Iterable[str]) -> None:
    """Raise :class:`DemoFailed` for anything beside *inputs*: a second copy, a part."""
    beside = sorted(set(names) - {one.name for one in inputs})
    if beside:
        raise DemoFailed(f"the {where} holds what nobody sent: {', '.join(beside)}")


def check_uploads(inputs: Sequence[Input], uploads: Sequence[Json]) -> None:
    """Raise :class:`DemoFailed` unless each input is one upload, delivered twice and destroyed."""
    sizes = {one.name: one.size for one in inputs}
    if sorted(upload["name"] for upload in uploads) != sorted(sizes):
        raise DemoFailed(f"{len(uploads)} uploads are told for {len(sizes)} files")
    for upload in uploads:
        states = [delivery["state"] for delivery in upload["deliveries"]]
        if upload["state"] != "destroyed" or states != ["delivered", "delivered"]:
            raise DemoFailed(f"{upload['name']} is {upload['state']}, its deliveries {states}")
        if upload["size"] != sizes[upload["name"]]:
            raise DemoFailed(f"{upload['name']} is told with {upload['size']} bytes")
