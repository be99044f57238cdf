from hypothesis import given
from hypothesis import strategies as st

from edge.workflow.queue import Item, Queue
from tests.support.delivery_site import destination_id
from zentransfer.ids import DeliveryID, DestinationID, UploadID


def item(destination: int, number: int) -> Item:
    upload = UploadID(f"up_{number}")
    return Item(upload, destination_id(destination), DeliveryID(f"de_{destination}-{number}"))


def always(_: DestinationID | None) -> bool:
    return True


def test_destinations_take_turns() -> None:
    queue = Queue(10, 10)
    for number in range(3):
        queue.push(item(0, number))
    queue.push(item(1, 9))
    order = [queue.maybe_pop(always) for _ in range(5)]
    assert order == [item(0, 0), item(1, 9), item(0, 1), item(0, 2), None]


def test_urgent_ones_go_first_at_their_destination() -> None:
    queue = Queue(10, 10)
    queue.push(item(0, 1))
    queue.push(item(0, 2), is_urgent=True)
    assert queue.maybe_pop(always) == item(0, 2)


def test_an_item_stands_once_until_it_is_done() -> None:
    queue = Queue(10, 10)
    queue.push(item(0, 1))
    queue.push(item(0, 1))
    assert queue.maybe_pop(always) == item(0, 1)
    queue.push(item(0, 1))
    assert queue.maybe_pop(always) is None
    queue.done(item(0, 1))
    assert (len(queue), queue.running) == (0, 0)
    queue.push(item(0, 1))
    assert queue.maybe_pop(always) == item(0, 1)


def test_a_destination_that_is_left_alone_holds_up_nobody() -> None:
    queue = Queue(10, 10)
    queue.push(item(0, 1))
    queue.push(item(1, 2))
    assert queue.maybe_pop(lambda each: each != destination_id(0)) == item(1, 2)
    assert queue.maybe_pop(lambda each: each != destination_id(0)) is None
    assert queue.maybe_pop(always) == item(0, 1)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=60),
    st.integers(1, 6),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_no_more_run_than_may_and_all_get_their_turn(
    pushed: list[tuple[int, int]], most: int, each_most: int, random: object
) -> None:
    queue, running, seen = Queue(most, each_most), list[Item](), set[Item]()
    for destination, number in pushed:
        queue.push(item(destination, number))
    while len(queue):
        while (found := queue.maybe_pop(always)) is not None:
            running.append(found)
            seen.add(found)
        assert 0 < len(running) <= most
        assert queue.running == len(running)
        for destination in range(4):
            at = [one for one in running if one.destination == destination_id(destination)]
            assert len(at) <= each_most
        queue.done(running.pop(random.randrange(len(running))))  # type: ignore[attr-defined]
    assert seen == {item(*one) for one in pushed}
