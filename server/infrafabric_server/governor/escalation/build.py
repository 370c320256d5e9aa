"""Connects the parts that bring incidents before people."""

from collections.abc import Sequence
from dataclasses import dataclass

from infrafabric_server.foundation import Foundation
from infrafabric_server.governor.build import Controls
from infrafabric_server.governor.escalation import causes
from infrafabric_server.governor.escalation.desk import Desk
from infrafabric_server.governor.escalation.records import EscalationRecords
from infrafabric_server.governor.escalation.sender import Sender
from infrafabric_server.governor.escalation.sources import Source, ViewSource
from infrafabric_server.governor.escalation.violations import PREFIX as BROKEN
from infrafabric_server.governor.escalation.violations import Violations, broken_cause
from infrafabric_server.governor.escalation.webhook import Webhook


@dataclass(frozen=True, slots=True)
class EscalationParts:
    """A connected desk and what must run for it.

    The server owns `violations.run`, and those of `desk` and `sender` and `violations.forget`
    while it leads.
    """

    desk: Desk
    sender: Sender
    violations: Violations


def build_escalation(
    base: Foundation, controls: Controls, hooks: Sequence[Webhook], sources: Sequence[Source]
) -> EscalationParts:
    """Return the desk over what causes escalations; call before the mirror starts.

    Args:
        base: What every component is built on.
        controls: Breakers, budgets and rules, which all cause escalations.
        hooks: The webhooks that are told.
        sources: What causes escalations outside of the governor.
    """
    policies, records = controls.policies, controls.breakers.records
    violations = Violations(base.mirror, base.clock, base.leadership)
    policies.subscribe(violations.note)
    incidents = EscalationRecords(
        base.mirror, base.outbox, base.clock, [hook.name for hook in hooks]
    )
    own: list[Source] = [
        ViewSource(causes.BREAKERS, records.breakers, causes.breaker_cause),
        ViewSource(causes.HOLDS, records.holds, causes.breaker_cause),
        ViewSource(BROKEN, violations.view, broken_cause),
        causes.BudgetSource(controls.ledger, policies, base.clock),
    ]
    desk = Desk(incidents, [*sources, *own], policies, base.leadership)
    return EscalationParts(desk, Sender(incidents, hooks, base.leadership), violations)
