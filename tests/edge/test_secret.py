import ctypes
import os

import pytest

from edge.secret import wipe


def test_what_one_holds_alone_is_overwritten() -> None:
    secret = os.urandom(32)
    where = id(secret) + bytes.__basicsize__ - 1
    assert ctypes.string_at(where, 32) == memoryview(secret)
    wipe(secret)
    assert ctypes.string_at(where, 33) == bytes(33)


@pytest.mark.parametrize("size", [0, 1, 32])
def test_what_others_hold_too_stays(size: int) -> None:
    holder = [os.urandom(size)]
    secret = holder[0]
    was = secret.hex()
    wipe(secret)
    assert holder[0].hex() == was
