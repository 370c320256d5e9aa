from hypothesis import given
from hypothesis import strategies as st

from infrafabric.v1.status_pb2 import AgentStatus
from infrafabric_server.edge.batches import batches

_SIZES = st.lists(st.integers(1, 40), max_size=30)


@given(sizes=_SIZES, most_bytes=st.integers(10, 100), most=st.none() | st.integers(1, 5))
def test_lists_fit_keep_the_order_and_are_no_more_than_needed(
    sizes: list[int], most_bytes: int, most: int | None
) -> None:
    messages = [AgentStatus(swarm_id="s" * size) for size in sizes]
    found = list(batches(messages, most_bytes=most_bytes, most=most))
    assert [message for batch in found for message in batch] == messages
    for number, batch in enumerate(found):
        taken = sum(message.ByteSize() for message in batch)
        assert len(batch) == 1 or taken <= most_bytes
        assert 1 <= len(batch) <= (most or len(batch))
        if number + 1 < len(found):
            following = taken + found[number + 1][0].ByteSize()
            assert following > most_bytes or len(batch) == most


def test_the_first_list_asks_for_one_message_more_than_it_has() -> None:
    asked = iter(AgentStatus(swarm_id="s" * 8) for _ in range(9))
    assert len(next(batches(asked, most_bytes=20))) == 2
    assert len(list(asked)) == 6
