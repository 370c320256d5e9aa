"""How rows fit a terminal: every form of a list, and that nothing is cut in any of them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from infrafabric_cli.layout import Column, Kind, arrange, block, fits, number, text, wrap

COLUMNS = (Column("swarm"), Column("status"), number("done"), text("message"))
ROWS = [("anna", "idle", "4", ""), ("session-4-sip", "blocked", "12", "the gatekeeper is down")]


def arranged(width: int) -> str:
    return "\n".join(arrange(COLUMNS, ROWS, width))


def test_u3_where_there_is_room_rows_are_a_table() -> None:
    assert (
        arranged(80)
        == """\
swarm          status   done  message
-------------  -------  ----  ----------------------
anna           idle        4
session-4-sip  blocked    12  the gatekeeper is down"""
    )


def test_u3_texts_give_way_first_and_break_at_spaces() -> None:
    assert (
        arranged(50)
        == """\
swarm          status   done  message
-------------  -------  ----  --------------------
anna           idle        4
session-4-sip  blocked    12  the gatekeeper is
                              down"""
    )


def test_u3_then_the_names_go_above_their_rows() -> None:
    assert (
        arranged(42)
        == """\
swarm
  status   done  message
  -------  ----  ----------------------
anna
  idle        4
session-4-sip
  blocked    12  the gatekeeper is down"""
    )


def test_u3_then_each_row_is_a_block() -> None:
    assert (
        arranged(28)
        == """\
swarm    anna
status   idle
done     4

swarm    session-4-sip
status   blocked
done     12
message  the gatekeeper is
         down"""
    )


def test_u3_rows_of_one_name_stand_below_it() -> None:
    columns = (number("rank"), Column("swarm"), text("why"))
    rows = [("1", "a" * 20, "one"), ("2", "a" * 20, "two"), ("3", "b" * 20, "three")]
    assert arrange(columns, rows, 25) == [
        "swarm",
        "  rank  why",
        "  ----  -----",
        "a" * 20,
        "     1  one",
        "     2  two",
        "b" * 20,
        "     3  three",
    ]


def test_u3_columns_without_any_value_take_no_room() -> None:
    assert arrange(COLUMNS, [("anna", "", "", "")], 80) == ["swarm", "-----", "anna"]


def test_what_is_left_goes_to_those_that_want_more() -> None:
    columns = (text("short"), text("long"))
    rows = [("one two " * 3, "three four " * 20)]
    rule = arrange(columns, rows, 80)[1].split()
    assert [len(each) for each in rule] == [24, 54]


@pytest.mark.parametrize(
    ("words", "width", "lines"),
    [
        ("", 5, [""]),
        ("a  b", 5, ["a  b"]),
        ("one two three", 7, ["one two", "three"]),
        ("breaker:session-4-sip is open", 10, ["breaker:session-4-sip", "is open"]),
        ("日本 日本", 5, ["日本", "日本"]),
    ],
)
def test_a_text_breaks_at_its_spaces_only(words: str, width: int, lines: list[str]) -> None:
    assert wrap(words, width) == lines


NAMES = ("task", "swarm", "state", "opened", "spent in all", "message", "reset by")
IDS = st.text("abcXYZ0189-._:/", max_size=128)
TEXTS = st.lists(st.text("abc日é-0123", min_size=1, max_size=60), max_size=12).map(" ".join)


@st.composite
def lists(draw: st.DrawFn) -> tuple[list[Column], list[list[str]]]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    columns = [Column(name, draw(st.sampled_from(Kind))) for name in names]
    row = st.tuples(*(TEXTS if each.kind is Kind.TEXT else IDS for each in columns)).map(list)
    return columns, draw(st.lists(row, min_size=1, max_size=6))


@given(lists(), st.integers(40, 250))
@example(([Column("task")], [["x" * 128]]), 40)
@example(([Column("task"), text("holds")], [["x" * 128, "y" * 128 + " " + "z" * 128]]), 80)
def test_u3_at_any_width_no_id_is_cut_and_no_word_is_missing(
    listed: tuple[list[Column], list[list[str]]], width: int
) -> None:
    columns, rows = listed
    lines = arrange(columns, rows, width)
    pieces = [line.split() for line in lines]
    shown = {piece for line in pieces for piece in line}
    for row in rows:
        for cell in row:
            assert set(cell.split()) <= shown
    for line, parts in zip(lines, pieces, strict=True):
        # Only what is in one piece may be wider than the terminal, beside the name of its cell.
        assert cell_len(line) <= width or max(map(cell_len, parts)) > width - 20


@given(lists(), st.integers(40, 250))
def test_u3_what_is_as_wide_as_the_table_still_fits(
    listed: tuple[list[Column], list[list[str]]], width: int
) -> None:
    columns, rows = listed
    if fits(columns, rows, width):
        assert all(cell_len(line) <= width for line in arrange(columns, rows, width))
        assert fits(columns, rows, width + 1)


@given(st.lists(st.tuples(st.sampled_from(NAMES), TEXTS), max_size=6), st.integers(40, 120))
def test_u3_a_block_has_every_word_of_its_values_in_order(
    pairs: list[tuple[str, str]], width: int
) -> None:
    indent = max((len(name) for name, _ in pairs), default=0) + 2
    told = " ".join(line[indent:] for line in block(pairs, width)).split()
    assert told == [word for _, value in pairs for word in value.split()]
