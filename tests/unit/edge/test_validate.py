from collections.abc import Callable
from typing import Any

import pytest

from infrafabric_server.edge import validate
from infrafabric_server.errors import FabricError, InvalidField, Reason
from infrafabric_server.limits import MAX_MONEY_MICROS


@pytest.mark.parametrize(
    ("check", "good"),
    [
        (validate.require_id, ["a", "9", "session-7-ifbus", "a.b_c:d-e", "x" * 128]),
        (validate.optional_id, ["", "a"]),
        (validate.require_text, ["", "x" * 4096, "☃" * 4096]),
        (validate.request_id, ["", "x" * 128, "job 7/é"]),
        (validate.require_money, [0, MAX_MONEY_MICROS]),
        (validate.require_attempt, [1, 2**40]),
    ],
)
def test_good_values_come_back_as_they_are(check: Callable[..., Any], good: list[Any]) -> None:
    assert [check("field", value) for value in good] == good


@pytest.mark.parametrize(
    ("check", "bad", "rule"),
    [
        (validate.require_id, ["", "-a", "a/b", "a b", "é", "x" * 129, "a\n"], "must be 1 to 128"),
        (validate.optional_id, ["-a", "x" * 129], "must be 1 to 128"),
        (validate.require_text, ["x" * 4097], "must be 0 to 4096 characters"),
        (validate.request_id, ["x" * 129], "must be 0 to 128 characters"),
        (validate.request_id, ["\0", "a\nb", "\u2028"], "must have printable characters alone"),
        (validate.require_money, [-1, MAX_MONEY_MICROS + 1], "must be 0 to 1000000000000"),
        (validate.require_attempt, [0, -1], "at least 1"),
        (validate.require_capabilities, [["ok", ""], ["a b"], ["/a"]], "each entry must be"),
        (validate.require_capabilities, [[f"c{n}" for n in range(65)]], "at most 64 entries"),
    ],
)
def test_bad_values_are_refused_with_field_and_rule(
    check: Callable[..., Any], bad: list[Any], rule: str
) -> None:
    for value in bad:
        with pytest.raises(InvalidField, match=rule) as caught:
            check("some_field", value)
        assert [each.field for each in caught.value.fields] == ["some_field"]


def test_text_may_have_to_say_something() -> None:
    with pytest.raises(InvalidField, match="message: must be 1 to 10 characters"):
        validate.require_text("message", "", least=1, most=10)


def test_capabilities_are_a_set() -> None:
    values = ["video", "ndi/4", "video"]
    assert validate.require_capabilities("capabilities", values) == {"video", "ndi/4"}
    assert validate.require_capabilities("capabilities", ["c"] * 100) == {"c"}


def test_the_size_of_a_page() -> None:
    assert [validate.page_size(size) for size in (0, 1, 1000)] == [100, 1, 1000]
    assert validate.page_size(0, default=20) == 20
    for size in (-1, 1001):
        with pytest.raises(InvalidField, match="page_size: must be 0 to 1000"):
            validate.page_size(size)


def test_cursors_are_revisions() -> None:
    assert validate.cursor("after_cursor", "") is None
    assert validate.cursor("after_cursor", "42") == 42
    for text in ("-1", "4 2", "0x4", "\uff14", "1\n", "9" * 20):
        with pytest.raises(FabricError, match="after_cursor: must be a cursor") as caught:
            validate.cursor("after_cursor", text)
        assert caught.value.reason is Reason.INVALID_CURSOR
