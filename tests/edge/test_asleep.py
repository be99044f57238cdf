import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path
from random import Random

import pytest

from edge.record import UploadRecord
from edge.sinks.directory import DirectorySink
from tests.support.real_loop import real_loop
from tests.support.region_keys import SeededKeys
from zentransfer.ids import AccountID, Region, UploadID

ROOT = Path(__file__).parents[2]
HOLDER = """
import asyncio, os, signal, sys
from pathlib import Path
from zentransfer.disk import RealDisk
async def main():
    async with RealDisk(Path(sys.argv[1])).lock(sys.argv[2]):
        print("held", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
asyncio.run(main())
"""
ITS, OTHER = UploadID("up_" + "a" * 26), UploadID("up_" + "b" * 25 + "a")


async def asleep_with(root: Path, lock: str) -> Process:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(root), lock, cwd=ROOT / "proto", stdout=-1
    )
    assert holder.stdout
    assert await holder.stdout.readline() == b"held\n"
    return holder


@pytest.mark.peer
def test_who_sleeps_over_a_record_s_lock_holds_up_few_and_its_end_frees_them_at_once(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        sink = DirectorySink(tmp_path, SeededKeys().public, Random(1).randbytes)
        for upload in (ITS, OTHER):
            await sink.create(UploadRecord(upload, AccountID("ac_1"), Region.FR, 1_000))
        holder = await asleep_with(tmp_path, f"locks/{ITS[3:5]}")
        try:
            async with asyncio.timeout(1):
                assert (await sink.claim(OTHER)).offset == 0, "another shard goes on"
                assert (await sink.record(ITS)).value.upload == ITS, "and whoever only reads"
            # Not taken from it: what it would write when it wakes up has no condition.
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await sink.claim(ITS)
            os.kill(holder.pid, signal.SIGKILL)
            async with asyncio.timeout(1):
                assert (await sink.claim(ITS)).fence == 2
        finally:
            if holder.returncode is None:
                holder.kill()
            await holder.wait()
        sink.close()

    real_loop(main())
