import re
from pathlib import Path

import pytest

from zentransfer import limits

NAMES = sorted(name for name in vars(limits) if name.isupper())
LINES = Path(limits.__file__).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_is_a_number_above_zero(name: str) -> None:
    value = getattr(limits, name)
    assert isinstance(value, int | float)
    assert value > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_says_its_unit_and_why(name: str) -> None:
    (line,) = (line for line in LINES if line.startswith(f"{name}: Final"))
    assert re.fullmatch(rf"{name}: Final = [\d_.]+  # [^:]+: .+", line), "# unit: why, on its line"
