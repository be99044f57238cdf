from hypothesis import given
from hypothesis import strategies as st

from edge.duty import Duty
from edge.link_state import Desired, DesiredState, Observed

STEPS = st.lists(st.sampled_from(["serve", "leave", *DesiredState]))


def walk(steps: list[str]) -> Duty:
    duty = Duty(lambda: 0.0)
    for step in steps:
        match step:
            case "serve":
                duty.serve()
            case "leave":
                duty.leave()
            case _:
                duty.obey(Desired(DesiredState(step)))
    return duty


def test_a_process_serves_once_everything_is_up() -> None:
    duty = Duty(lambda: 0.0)
    assert duty.check() == (False, "starts")
    assert duty.observed(0) is Observed.JOINING
    duty.serve()
    assert duty.check() == (True, "admits new work")
    assert duty.observed(3) is Observed.SERVING


def test_a_drained_process_says_when_its_last_upload_ended_and_comes_back() -> None:
    duty = walk(["serve", DesiredState.DRAIN])
    assert duty.observed(1) is Observed.DRAINING
    assert duty.observed(0) is Observed.DRAINED
    assert duty.check() == (False, "the operator wants drain")
    assert duty.obey(Desired(DesiredState.ACTIVE))
    assert duty.admits


def test_the_same_wish_again_is_no_change() -> None:
    duty = Duty(lambda: 0.0)
    assert not duty.obey(Desired(DesiredState.ACTIVE))
    assert duty.obey(Desired(DesiredState.DISABLED, remaining_s=10))
    assert not duty.obey(Desired(DesiredState.DISABLED, remaining_s=9))


@given(STEPS, STEPS)
def test_a_process_that_leaves_never_admits_again(before: list[str], after: list[str]) -> None:
    assert not walk([*before, "leave", *after]).admits


@given(STEPS, st.integers(0, 5))
def test_only_who_admits_says_that_it_serves(steps: list[str], under_way: int) -> None:
    duty = walk(steps)
    assert (duty.observed(under_way) is Observed.SERVING) == duty.admits == duty.check()[0]


def test_a_disablement_ends_by_itself_with_control_away() -> None:
    now_s = 100.0
    duty = Duty(lambda: now_s)
    duty.serve()
    duty.obey(Desired(DesiredState.DISABLED, remaining_s=60))
    now_s = 159.0
    assert duty.check() == (False, "the operator wants disabled")
    now_s = 160.0
    assert duty.admits
    assert not duty.obey(Desired(DesiredState.ACTIVE))


def test_what_was_taken_before_goes_on_while_an_operator_drains_the_node() -> None:
    assert walk(["serve"]).finishes
    assert walk(["serve", DesiredState.DRAIN]).finishes
    assert not walk(["serve", DesiredState.DISABLED]).finishes
    assert not walk(["serve", DesiredState.DRAIN, "leave"]).finishes
    assert not walk([DesiredState.DRAIN]).finishes


@given(STEPS)
def test_who_admits_also_finishes(steps: list[str]) -> None:
    duty = walk(steps)
    assert duty.finishes or not duty.admits
