import random

from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.store.sorted_keys import SortedKeys
from infrafabric_server.store.transactions import prefix_end


def test_keys_stay_in_order_through_many_changes() -> None:
    chance = random.Random(7)
    expected = {f"{chance.randrange(100_000):05}" for _ in range(5000)}
    keys = SortedKeys(expected)
    for step in range(5000):
        key = f"{chance.randrange(100_000):05}"
        if key in expected:
            expected.remove(key)
            keys.remove(key)
        else:
            expected.add(key)
            keys.add(key)
        if step % 500 == 0:
            ordered = sorted(expected)
            assert list(keys.since("")) == ordered
            assert list(keys.after(key)) == [each for each in ordered if each > key]
            assert list(keys.since(key)) == [each for each in ordered if each >= key]
    for key in sorted(expected):
        keys.remove(key)
    assert list(keys.since("")) == []
    keys.add("again")
    assert list(keys.after("")) == ["again"]


@given(prefix=st.text(max_size=3), other=st.text(max_size=5))
def test_the_end_of_a_prefix_is_after_all_that_start_with_it(prefix: str, other: str) -> None:
    end = prefix_end(prefix)
    for text in (other, prefix + other, prefix + "\U0010ffff" + other):
        inside = text >= prefix and (end is None or text < end)
        assert inside is text.startswith(prefix)
