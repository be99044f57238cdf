"""``zentransfer up --check``: would it start?  Nothing is started, nothing is left behind."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ops import ports, preflight, up
from ops.programs import Place, Plan, Program
from ops.settings import UpSettings
from zentransfer import service, settings
from zentransfer.limits import CHILD_START_S
from zentransfer.service import CannotStart


def report(chosen: UpSettings, place: Place, plan: Plan) -> Iterator[str]:
    """Yield the verdict, then the settings of the launcher and of every process, secrets masked.

    Raises :class:`CannotStart` for what would keep the system from starting.
    """
    up.check_variables(place, plan)
    preflight.check_lock(place.folder)
    preflight.check_rights(place.folder)
    preflight.check_free(place.folder)
    preflight.check_open_files()
    wanted = ports.table(place.base, place.regions, place.workers)
    taken = preflight.taken_ports(wanted, place.run_folder)
    if taken:
        raise preflight.ports_are_taken(taken, place)
    said = [f"# zentransfer up\n{settings.effective(chosen)}"]
    with tempfile.TemporaryDirectory(prefix="zentransfer-check-") as folder:
        up.write_settings(plan, Path(folder))
        # Processes of one node read one file, so one of them checks it for all.
        checked = {each.command[-1]: each for each in reversed(plan.programs)}.values()
        said += [f"# {each.name}\n{_effective(each, place, Path(folder))}" for each in checked]
    yield f"# All of this can start. Nothing was started in {place.folder}."
    yield from said


def _effective(program: Program, place: Place, folder: Path) -> str:
    """Let *program* itself check the settings that it would get."""
    command = [part.replace(str(place.run_folder), str(folder)) for part in program.command]
    try:
        done = subprocess.run(  # noqa: S603 - our own command lines, no shell
            [*command, "--check"],
            env=service.inherited(program.prefix),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CHILD_START_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CannotStart(
            f"{program.name} does not check its settings within {CHILD_START_S:g} s.",
            "Try again when this machine has less to do.",
            temporary=True,
        ) from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise CannotStart(f"{program.name} would not start: {said[-1]}")
    return done.stdout
