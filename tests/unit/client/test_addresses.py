"""Which of several servers is used."""

import pytest

from infrafabric import addresses


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("a:1", ("a:1",)),
        ("a:1,b:2", ("a:1", "b:2")),
        (" a:1 , b:2 ", ("a:1", "b:2")),
        (["a:1", "[::1]:2"], ("a:1", "[::1]:2")),
        (iter(("a:1", "b:2")), ("a:1", "b:2")),
    ],
)
def test_a_target_names_one_server_or_several(
    target: str | list[str], found: tuple[str, ...]
) -> None:
    assert addresses.split(target) == found


@pytest.mark.parametrize("target", ["", " ", "a:1,", ",a:1", [], ["a:1", ""]])
def test_a_target_without_a_server_is_refused(target: str | list[str]) -> None:
    with pytest.raises(ValueError, match="must name a server, or several as HOST:PORT,HOST:PORT"):
        addresses.split(target)


def test_clients_begin_at_any_server_and_go_round() -> None:
    three = ("a:1", "b:2", "c:3")
    turns = addresses.in_turn(three, lambda: 0.5)
    assert [next(turns) for _ in range(4)] == ["b:2", "c:3", "a:1", "b:2"]
    assert [addresses.beginning(3, iter((at,)).__next__) for at in (0.0, 0.34, 0.999)] == [0, 1, 2]
