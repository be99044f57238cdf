from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from edge.snapshot import Clash
from edge.workflow.destinations.memory import MemoryDestination
from tests.support.destination_suite import CASES, Case, Form
from tests.support.sim import simulate


@asynccontextmanager
async def make(clash: Clash) -> AsyncIterator[Form]:
    destination = MemoryDestination(Random(1), clash)
    yield Form(destination, lambda: dict(destination.objects), lambda: len(destination.parts))
    destination.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_memory_form_keeps_the_contract(case: Case) -> None:
    simulate(case(make))  # type: ignore[arg-type]  # each case is a coroutine function
