import stat
from pathlib import Path
from random import Random

import pytest

from edge.sftp.host_keys import host_keys
from tests.support.real_loop import real_loop
from zentransfer.disk import RealDisk
from zentransfer.memory_disk import MemoryDisk


def test_a_node_makes_its_keys_once_and_only_its_user_may_read_them(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)

    async def main() -> None:
        made, again = await host_keys(disk), await host_keys(disk)
        assert [key.get_algorithm() for key in made] == ["ssh-ed25519", "ssh-rsa"]
        assert [key.public_data for key in made] == [key.public_data for key in again]

    real_loop(main())
    disk.close()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*.key")]
    assert modes == [0o600, 0o600]


def test_a_key_that_cannot_be_read_is_never_replaced() -> None:
    disk = MemoryDisk(Random(1))
    disk.create("ed25519.key").write_at(b"torn", 0)

    async def main() -> None:
        with pytest.raises(ValueError, match="key"):
            await host_keys(disk)

    real_loop(main())
