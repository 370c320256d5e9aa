"""What goes to standard error: what a person hears of a fabric that goes away, and of refusals."""

import pytest

from infrafabric.errors import Unreachable
from infrafabric_cli.outages import Outages
from infrafabric_cli.output import complain


async def _at_once(seconds: float) -> None:
    assert seconds == 0.25


async def _answer() -> None:
    pass


async def _silence() -> None:
    raise Unreachable("UNAVAILABLE: connection refused")


async def test_n10_an_outage_is_told_once_and_its_end_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outages = Outages("here:1", sleep=_at_once)
    told = []
    for ask in (_answer, _silence, _silence, _answer, _answer, _silence):
        await outages.wait(0.25, ask)
        captured = capsys.readouterr()
        assert captured.out == "", "that is for events"
        told.append(captured.err.splitlines())
    away = [
        "no answer from here:1: UNAVAILABLE: connection refused",
        "It is asked again until it answers; Ctrl-C ends this.",
    ]
    assert told == [[], away, [], ["here:1 answers again"], [], away]


async def test_n10_a_screen_is_given_the_reason_of_an_outage_instead(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outages = Outages("here:1", sleep=_at_once)
    outages.aloud = False
    reasons = []
    for ask in (_answer, _silence, _silence, _answer):
        await outages.wait(0.25, ask)
        reasons.append(outages.reason)
    why = "no answer from here:1: UNAVAILABLE: connection refused"
    assert reasons == ["", why, why, ""]
    assert capsys.readouterr().err == ""


def test_u3_lines_of_others_do_not_look_like_lines_of_ours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    complain("module refused: unknown operator\n  --> 1:31\n\x1b[2Jdone")
    complain("")
    assert capsys.readouterr().err == (
        "module refused: unknown operator\n      --> 1:31\n    \\x1b[2Jdone\n\n"
    )
