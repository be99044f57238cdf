from pathlib import Path

import aioftp

from ops.doctor.seen import Wanted
from ops.doctor.steps import Verdict
from tests.support.doctor import SECRET, visited
from tests.support.ports import free_port
from tests.support.real_loop import real_loop


def test_a_stock_server_is_told_as_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        user = aioftp.User("camera", SECRET, base_path=tmp_path, home_path="/")
        server = aioftp.Server([user])
        port = free_port()
        await server.start("127.0.0.1", port)
        try:
            wanted = Wanted("127.0.0.1", port, has_credential=True, uploads=True)
            seen, steps = await visited(wanted, user="camera")
        finally:
            await server.close()
        assert steps["encryption"].verdict is Verdict.LOOK  # it has no AUTH
        for name in ("sign-in", "data (PASV)", "data (EPSV)", "upload"):
            assert steps[name].verdict is Verdict.RIGHT, seen
        assert steps["size"].verdict is Verdict.LOOK  # nor SIZE

    real_loop(main())
    assert len(list(tmp_path.iterdir())) == 1
