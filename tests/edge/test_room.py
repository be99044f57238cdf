import pytest

from edge.room import LOOK_EVERY_BYTES, Unpromised
from tests.support.sim import simulate
from zentransfer.errors import Code, Error

PART = bytes(LOOK_EVERY_BYTES // 4)


class Endless:
    async def readany(self) -> bytes:
        return PART


def test_it_goes_on_while_there_is_room_and_looks_now_and_then() -> None:
    looks: list[bool] = []

    def has_room() -> bool:
        looks.append(True)
        return len(looks) < 3

    source, parts = Unpromised(Endless(), has_room), list[bytes]()

    async def read() -> None:
        while True:
            parts.append(await source.readany())

    with pytest.raises(Error) as refused:
        simulate(read())
    assert refused.value.code is Code.INSUFFICIENT_STORAGE
    assert refused.value.retry_after_s is not None
    assert len(b"".join(parts)) == 3 * LOOK_EVERY_BYTES - len(PART)
