"""What a machine is, and what processes used of it."""

import platform
import re
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

SERVER_CORE: Final = 0
LOAD_CORE: Final = 1
_LOOK_S: Final = 0.05  # between two looks at the resident memory


def described() -> dict[str, str]:
    """Return what the machine is, in words."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return {
        "machine": f"{psutil.cpu_count()} cores, {cpu[1] if cpu else platform.machine()}, "
        f"{psutil.virtual_memory().total >> 30} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def file_system(folder: Path) -> str:
    """Return the kind of the file system that *folder* is on."""
    found = [
        each for each in psutil.disk_partitions(all=True) if folder.is_relative_to(each.mountpoint)
    ]
    return max(found, key=lambda each: len(each.mountpoint)).fstype if found else "unknown"


@dataclass
class Used:
    """What some processes and all below them used; complete after the ``with`` of :func:`watched`.

    ``steal_share`` is what the hypervisor took of the machine meanwhile.
    """

    cpu_s: float = 0.0
    rss_mib: float = 0.0
    steal_share: float = 0.0


@contextmanager
def watched(pids: Iterable[int]) -> Generator[Used]:
    """Measure the trees of *pids* while the ``with`` lasts; peak memory by looking often."""
    roots = [psutil.Process(pid) for pid in pids]
    used, over = Used(), threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            used.rss_mib = max(used.rss_mib, _sum(roots, _rss) / (1 << 20))

    before, times = _sum(roots, _cpu), psutil.cpu_times()
    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield used
    finally:
        over.set()
        looking.join()
        used.cpu_s = _sum(roots, _cpu) - before
        now = psutil.cpu_times()
        total = sum(now) - sum(times)
        stolen = _stolen(now) - _stolen(times)
        used.steal_share = stolen / total if total else 0.0


def memory_mib(pids: Iterable[int]) -> float:
    """Return what the trees of *pids* have of the memory, in MiB; what they share counts once."""
    return _sum([psutil.Process(pid) for pid in pids], _pss) / (1 << 20)


def _stolen(times: object) -> float:
    """Return what the hypervisor took, where the system knows it."""
    stolen: float = getattr(times, "steal", 0.0)
    return stolen


def _sum(roots: list[psutil.Process], of: Callable[[psutil.Process], float]) -> float:
    total = 0.0
    for root in roots:
        with suppress(psutil.Error):
            total += sum(of(each) for each in (root, *root.children(recursive=True)))
    return total


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()  # of children too that have ended: some fork for each client
    return times.user + times.system + times.children_user + times.children_system


def _rss(process: psutil.Process) -> float:
    return float(process.memory_info().rss)


def _pss(process: psutil.Process) -> float:
    return float(process.memory_full_info().pss)
