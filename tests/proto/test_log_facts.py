import re

import pytest

from tests.support.canaries import CANARIES
from zentransfer.log_facts import FACTS


@pytest.mark.parametrize("name", FACTS)
def test_a_fact_is_named_noun_and_what_became_of_it(name: str) -> None:
    assert name == "unregistered" or re.fullmatch(r"[a-z]+\.[a-z_]+", name)


@pytest.mark.parametrize("name", FACTS)
def test_no_field_of_a_fact_shows_a_canary(name: str) -> None:
    for field in FACTS[name].fields.values():
        assert {field.shown(canary) for canary in CANARIES.values()} <= {None, "other"}


@pytest.mark.parametrize("name", FACTS)
def test_a_field_is_a_plain_word_that_no_line_uses_itself(name: str) -> None:
    for field in FACTS[name].fields:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", field)
