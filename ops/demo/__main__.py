"""The demo: files from three continents and a camera, a node killed in the middle, all arrives."""

import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

import click

from ops.console import Console
from ops.demo import verify
from ops.demo.clients import Laptop, send_by_camera, sending, sent
from ops.demo.inputs import BIG_NAME, MEBIBYTE, Input, big, photographs
from ops.demo.world import BUCKET, DemoFailed, Json, World, until
from zentransfer.ids import Region
from zentransfer.limits import PORT_BASE_MAX

BIG_BYTES: Final = 300 * MEBIBYTE

_KILLED: Final = Region.SG  # the node that the big file is on its way to
_KILL_AT: Final = BIG_BYTES // 3
_SEED: Final = 20_261_122


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Folder of all data.")
@click.option("--base", type=click.IntRange(1, PORT_BASE_MAX), help="First port [a free one].")
@click.option("--keep", is_flag=True, help="Leave the folder and the system running.")
@click.option("--json", "in_json", is_flag=True, help="Print what was seen as JSON, at the end.")
def main(folder: Path | None, base: int | None, *, keep: bool, in_json: bool) -> None:
    """Show the main job on real input, and exit 0 only if all of it holds."""
    console = Console(sys.stdout)
    try:
        with _place(folder, keep=keep) as place, World(place, base, keep=keep) as world:
            try:
                document = _shown(world, console)
            finally:
                if keep:
                    pids = " ".join(map(str, world.pids))
                    console.say(f"It goes on running in {place}. To end it: kill {pids}")
            if in_json:
                click.echo(json.dumps(document))
    except DemoFailed as failed:
        raise SystemExit(f"make demo: {failed}") from failed


@contextmanager
def _place(folder: Path | None, *, keep: bool) -> Generator[Path]:
    """Yield the folder of all data; one that was not named is removed, unless it is kept."""
    if folder is not None:
        yield folder.absolute()
        return
    made = Path(tempfile.mkdtemp(prefix="zentransfer-demo-"))
    try:
        yield made
    finally:
        if not keep:
            shutil.rmtree(made)


def _shown(world: World, console: Console) -> Json:
    """Run the whole demo in *world*; returns its document, raises :class:`DemoFailed`."""
    begun_s = time.perf_counter()
    source = world.folder / "demo" / "inputs"
    source.mkdir(parents=True, exist_ok=True)
    used_before = verify.ledger_bytes(world)
    laptops, camera = _people(source)
    inputs = [one for laptop in laptops for one in laptop.inputs] + list(camera)
    console.say(f"{len(inputs)} files, {sum(one.size for one in inputs) / MEBIBYTE:.0f} MiB.")
    folder = Path(world.ready["delivered"]) / "desk"
    token, ftp = _sign_up(world, folder)

    running = [(laptop, sending(world, laptop, token)) for laptop in laptops]
    try:
        send_by_camera(world.edge(Region.FR)["ftp"] or "", *ftp, camera)
        killed = _kill_in_the_middle(world)
        console.say(f"Killed the ingest process of {_KILLED} (pid {killed}) in the big file.")
        for laptop, program in running:
            sent(laptop, program)
    finally:
        for _, program in running:
            program.kill()
    uploads = _ended(world, inputs)
    _check(world, inputs, uploads, folder)
    used = verify.ledger_bytes(world) - used_before
    if used != sum(one.size for one in inputs):
        raise DemoFailed(f"the ledger holds {used} bytes, and other many were sent")
    _check_regions(laptops, camera, uploads)
    console.say("")
    _print(console, uploads, inputs)
    console.say("")
    seconds = time.perf_counter() - begun_s
    document = _document(inputs, uploads, used)
    console.say(closing(document, seconds))
    return document


def _people(source: Path) -> tuple[list[Laptop], list[Input]]:
    """Return who sends what: public addresses in Boston, Paris and Tokyo, and a camera."""
    random = Random(_SEED)
    boston = photographs(source, [f"BOS_{n:04}.JPG" for n in range(1, 5)], random)
    paris = photographs(source, [f"PAR_{n:04}.JPG" for n in range(1, 5)], random)
    tokyo = photographs(source, [f"TYO_{n:04}.JPG" for n in range(1, 3)], random)
    camera = photographs(source, [f"DSC_{n:04}.JPG" for n in range(1, 4)], random)
    laptops = [
        Laptop("Boston", "18.9.22.69", Region.US, boston),
        Laptop("Paris", "129.199.96.11", Region.FR, paris),
        Laptop("Tokyo", "133.11.0.1", Region.SG, tokyo),
        Laptop("Tokyo", "133.11.0.1", Region.SG, [big(source, BIG_BYTES)], waits=True),
    ]
    return laptops, camera


def _sign_up(world: World, folder: Path) -> tuple[str, tuple[str, str]]:
    """Make two destinations, a workflow to both, a program's token and a camera's sign-in."""
    folder.mkdir(parents=True, exist_ok=True)
    desk = world.api(
        "POST", "/destinations", {"kind": "folder", "label": "Desk", "address": str(folder)}
    )
    agency = world.api(
        "POST",
        "/destinations",
        {
            "kind": "s3",
            "label": "Agency",
            "address": f"s3://{BUCKET}/incoming",
            "endpoint": world.s3_url,
            "region": "us-east-1",
            "access_key_id": verify.SECRETS[0],
            "secret_access_key": verify.SECRETS[1],
        },
    )
    both = {"name": "To desk and agency", "destinations": [desk["id"], agency["id"]]}
    plan = world.api("POST", "/workflows", both)["id"]
    # The program's is made last: a node that knows it knows the camera's.
    ftp = world.api("POST", "/credentials", {"kind": "ftp", "label": "Camera", "workflow": plan})
    api = world.api("POST", "/credentials", {"kind": "api", "label": "Laptops", "workflow": plan})
    until(
        lambda: all(world.knows(region, api["token"]) for region in Region),
        "every node knows the new credentials",
    )
    until(world.is_open, "control has heard of every node")
    return api["token"], (ftp["name"], ftp["secret"])


def _kill_in_the_middle(world: World) -> int:
    """Kill the node that the big file is on its way to, when a third of it is there."""
    sink = world.folder / _KILLED / "sink"

    def is_far() -> bool:
        return sum(path.stat().st_size for path in _sealed(sink)) >= _KILL_AT

    until(is_far, f"a third of {BIG_NAME} is at {_KILLED}")
    return world.kill_ingest(_KILLED)


def _sealed(sink: Path) -> Iterator[Path]:
    return (path for path in sink.rglob("*") if path.is_file())


def _ended(world: World, inputs: Sequence[Input]) -> list[Json]:
    """Return the uploads of *inputs* once all are destroyed; the camera's are waited for here."""
    names = {one.name for one in inputs}
    uploads: list[Json] = []

    def are_destroyed() -> bool:
        uploads[:] = [one for one in world.pages("/uploads") if one["name"] in names]
        # What was given up on the way, and sent again, never was whole.
        uploads[:] = [one for one in uploads if one["committed_at"]]
        return len(uploads) >= len(inputs) and all(one["destroyed_at"] for one in uploads)

    until(are_destroyed, "all is delivered and destroyed")
    return uploads


def _check(world: World, inputs: Sequence[Input], uploads: Sequence[Json], folder: Path) -> None:
    """Look at everything from outside; raises :class:`DemoFailed`."""
    verify.check_uploads(inputs, uploads)
    names = [path.name for path in folder.iterdir()]
    verify.check_only(inputs, "folder", names)
    verify.check_arrived(inputs, "folder", verify.folder_digests(folder, names))
    in_s3 = verify.s3_digests(world, "incoming")
    verify.check_only(inputs, "S3 bucket", in_s3)
    verify.check_arrived(inputs, "S3 bucket", in_s3)
    left = verify.sealed_left(world)
    if left:
        raise DemoFailed(f"sealed content is left: {', '.join(map(str, left))}")


def _check_regions(
    laptops: Sequence[Laptop], camera: Sequence[Input], uploads: Sequence[Json]
) -> None:
    """Raise :class:`DemoFailed` unless everybody sent to the region that is nearest.

    Who met the killed node may rightly have gone to the next one.
    """
    wanted = {one.name: laptop.region for laptop in laptops for one in laptop.inputs}
    wanted |= {one.name: Region.FR for one in camera}
    for upload in uploads:
        nearest = wanted[upload["name"]]
        if upload["region"] != nearest and nearest is not _KILLED:
            raise DemoFailed(f"{upload['name']} went to {upload['region']}, nearest is {nearest}")


def _print(console: Console, uploads: Sequence[Json], inputs: Sequence[Input]) -> None:
    digests = {one.name: one.digest for one in inputs}
    rows = [
        (
            upload["name"],
            f"{upload['size'] / MEBIBYTE:.1f}",
            upload["region"],
            upload["state"],
            " ".join(delivery["state"] for delivery in upload["deliveries"]),
            digests[upload["name"]][:12],
        )
        for upload in sorted(uploads, key=lambda one: str(one["name"]))
    ]
    head = ("file", "MiB", "region", "state", "deliveries", "SHA-256, same at both")
    console.table(head, rows)


def _document(inputs: Sequence[Input], uploads: Sequence[Json], used: int) -> Json:
    regions = Counter(upload["region"] for upload in uploads)
    return {
        "uploads": len(uploads),
        "delivered": sum(_is_delivered(upload) for upload in uploads),
        "destroyed": sum(upload["destroyed_at"] is not None for upload in uploads),
        "ledger_bytes": used,
        "regions": {str(region): regions[region] for region in Region},
        "inputs": {one.name: one.digest for one in inputs},
    }


def closing(document: Json, seconds: float) -> str:
    """Return the last sentence: what of *document* was seen, in *seconds*."""
    return (
        f"All {document['delivered']} files arrived once and whole at both destinations, and what"
        f" we held of them is destroyed: seen from outside, in {seconds:.1f} s."
    )


def _is_delivered(upload: Json) -> bool:
    return all(delivery["state"] == "delivered" for delivery in upload["deliveries"])


if __name__ == "__main__":
    sys.exit(main(prog_name="python -m ops.demo"))
