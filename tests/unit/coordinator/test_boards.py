"""C7: a board is checked as a whole before any of it is created."""

from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrafabric_server.coordinator.boards import check_dependencies, find_cycle
from infrafabric_server.errors import FabricError, Reason

names = st.sampled_from("abcdefgh")
boards = st.dictionaries(names, st.lists(names, max_size=4))


@given(boards)
def test_c7_a_cycle_is_found_exactly_when_there_is_one(board: dict[str, list[str]]) -> None:
    inside = {name: [d for d in deps if d in board] for name, deps in board.items()}
    try:
        TopologicalSorter(inside).prepare()
        cyclic = False
    except CycleError:
        cyclic = True
    cycle = find_cycle(board)
    assert bool(cycle) == cyclic
    if cycle:
        assert cycle[0] == cycle[-1]
        assert all(after in board[before] for before, after in pairwise(cycle))


def test_c7_a_cycle_is_refused_and_spelled_out() -> None:
    with pytest.raises(FabricError) as refused:
        check_dependencies({"x": [], "a": ["b"], "b": ["c"], "c": ["a"]}, lambda _: False)
    assert refused.value.reason is Reason.DEPENDENCY_CYCLE
    assert "a -> b -> c -> a" in refused.value.message
    assert refused.value.fields[0].field == "tasks[1].dependencies"


def test_c7_an_unknown_dependency_is_refused_and_named() -> None:
    with pytest.raises(FabricError) as refused:
        check_dependencies({"a": ["known"], "b": ["ghost"]}, {"known"}.__contains__)
    assert refused.value.reason is Reason.DEPENDENCY_UNKNOWN
    assert "ghost" in refused.value.message
    assert refused.value.fields[0].field == "tasks[1].dependencies"


def test_c7_a_long_chain_needs_no_recursion() -> None:
    board = {f"t{i}": [f"t{i + 1}"] for i in range(5_000)} | {"t5000": ["t0"]}
    assert len(find_cycle(board)) == 5_002
