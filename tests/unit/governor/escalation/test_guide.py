"""What docs/escalations.md says is what happens: the example, the message, and how to check it."""

import json
import re
from datetime import UTC, datetime

from infrafabric_server.governor.escalation.models import (
    Cause,
    Delivery,
    Escalation,
    Kind,
    Operation,
)
from infrafabric_server.governor.escalation.rules import acknowledge, decide
from infrafabric_server.governor.escalation.webhook import Webhook
from infrafabric_server.governor.policy.models import Policy
from tests.harness.documents import ROOT, blocks, dead_links, program

GUIDE = (ROOT / "docs" / "escalations.md").read_text()
RAISE_AFTER = Policy().escalation.raise_after


def test_g7_the_example_of_the_guide_goes_as_it_says() -> None:
    rows = re.findall(r"^\| (\d\d):(\d\d) \| (.+?) \| (\w+) \| (\d) \|$", GUIDE, re.MULTILINE)
    assert len(rows) == 6
    known: Escalation | None = None
    for hour, minute, what, state, level in rows:
        now = datetime(2026, 1, 1, int(hour), int(minute), tzinfo=UTC)
        cause = None
        if "resets" not in what:
            begin = datetime(2026, 1, 1, 10, tzinfo=UTC)
            cause = Cause(kind=Kind.BREAKER, subject="anna", since=begin, summary="it is open")
        if "acknowledges" in what:
            assert known is not None
            taken = acknowledge(known, "mary", "", now)
            assert taken is not None
            known = taken.escalation
        step = decide(known, cause, now, RAISE_AFTER)
        known = known if step is None else step.escalation
        assert known is not None
        assert (known.state.value, known.level) == (state, int(level)), f"at {hour}:{minute}"


def test_g7_a_delivery_is_what_the_guide_shows_and_its_check_takes_it() -> None:
    shown = json.loads(blocks(GUIDE, "json")[0])
    told = shown["escalation"]
    begin = datetime.fromisoformat(told["create_time"])
    delivery = Delivery(
        hook="pager",
        entry_id=shown["entry_id"],
        operation=Operation.RAISED,
        escalation=Escalation(
            escalation_id=told["escalation_id"],
            kind=Kind.BREAKER,
            swarm_id="anna",
            summary=told["summary"],
            since=begin,
            level=told["level"],
            updates=told["updates"],
            create_time=begin,
            update_time=datetime.fromisoformat(told["update_time"]),
            raise_time=begin,
        ),
        create_time=begin,
        due_time=begin,
    )
    hook = Webhook("pager", "https://pager.example/in", secret="k")
    body = hook.body(delivery)
    assert json.loads(body) == shown
    header = hook.headers(delivery, body, 1000)["InfraFabric-Signature"]
    is_genuine = program(GUIDE, "docs/escalations.md")["is_genuine"]
    assert is_genuine("k", header, body, 1299)
    assert not is_genuine("k", header, body, 1300)
    assert not is_genuine("other", header, body, 1000)
    assert not is_genuine("k", header, body + b" ", 1000)
    assert not is_genuine("k", header.replace("t=1000", "t=1001"), body, 1000)


def test_d5_every_link_of_the_guide_leads_somewhere() -> None:
    assert dead_links(GUIDE, ROOT / "docs") == []
