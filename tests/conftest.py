"""Options of the whole suite: how many seeds a simulated history is played with."""

import gc

import pytest
from hypothesis import settings

SEEDS = 5  # a test that takes `seed` runs once for each; `make sim SEEDS=200` plays more


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seeds", type=int, default=SEEDS, help="play each simulated history with so many seeds"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        seeds = range(metafunc.config.getoption("--seeds"))
        metafunc.parametrize("seed", seeds, ids=lambda seed: f"seed{seed}")


settings.register_profile("gate", deadline=None)  # a busy machine is no fault of an example
settings.load_profile("gate")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Spare the collector what stays to the end: thousands of tests, a third of the whole time."""
    gc.collect()
    gc.freeze()
