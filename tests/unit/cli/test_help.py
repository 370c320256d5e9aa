"""How requests for help are shown: who is blocked in what, who helps, and what it cost."""

import pytest

from infrafabric.v1.help_pb2 import (
    HELP_STATE_OPEN,
    HELP_STATE_UNQUALIFIED,
    HELP_URGENCY_CRITICAL,
    HELP_URGENCY_LOW,
    HELP_URGENCY_UNSPECIFIED,
    HelpRequest,
    HelpUrgency,
)
from infrafabric_cli.help import line, row
from tests.unit.cli.test_commands import infrafabric

HELPED = HelpRequest(
    help_id="h1",
    swarm_id="ada",
    task_id="t1",
    reason="no key",
    needs=["vault", "security"],
    urgency=HELP_URGENCY_CRITICAL,
    budget_micros=600_000,
    spent_micros=250_000,
    state=HELP_STATE_OPEN,
    helper_swarm_ids=["ben", "cy"],
    asked_swarm_ids=["dan"],
    max_helpers=3,
)


def test_g9_a_row_tells_who_is_blocked_and_who_helps() -> None:
    assert row(HELPED) == (
        "h1",
        "open critical",
        "2 of 3: ben cy",
        "dan",
        "0.25/0.60",
        "ada in t1 needs vault security: no key",
    )
    assert line(HELPED) == (
        "h1: open critical; helpers 2 of 3: ben cy; asked: dan; 0.25/0.60 USD; "
        "ada in t1 needs vault security: no key"
    )


@pytest.mark.parametrize("urgency", [HELP_URGENCY_UNSPECIFIED, HELP_URGENCY_LOW])
def test_g9_what_is_not_urgent_and_has_no_helpers_takes_few_words(
    urgency: HelpUrgency.ValueType,
) -> None:
    alone = HelpRequest(
        help_id="h1",
        swarm_id="ada",
        task_id="t1",
        reason="no key",
        needs=["vault"],
        urgency=urgency,
        state=HELP_STATE_UNQUALIFIED,
        max_helpers=3,
    )
    assert line(alone) == (
        "h1: unqualified; helpers 0 of 3; 0.00/0.00 USD; ada in t1 needs vault: no key"
    )


def test_u3_help_alone_tells_how_it_is_used() -> None:
    shown = infrafabric("help")
    assert shown.exit_code == infrafabric("breaker").exit_code
    assert all(verb in shown.output for verb in ("ask", "accept", "list", "--help"))
