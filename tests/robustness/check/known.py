"""Every operation that the witness log may tell, and who of the checks follows it."""

from tests.robustness.check.tasks import RULES

# Said of a task that it does not change, of a swarm, of everyone, or of money.
OTHERS = frozenset(
    (
        "task_created",
        "swarm_registered",
        "swarm_deregistered",
        "swarm_forgotten",
        "session_opened",
        "session_resumed",
        "session_closed",
        "claim_refused",
        "message_fenced",
        "policy_violated",
        "broadcast_sent",
        "blocker_escalated",
    )
)

BREAKERS = frozenset(
    (
        "breaker_opened",
        "breaker_reset",
        "hold_opened",
        "hold_reset",
        "pool_paused",
        "pool_resumed",
    )
)

HELP = frozenset(
    (
        "help_requested",
        "help_offered",
        "help_offer_ended",
        "help_accepted",
        "help_left",
        "help_unqualified",
        "help_ended",
    )
)

ESCALATIONS = frozenset(
    (
        "escalation_opened",
        "escalation_updated",
        "escalation_raised",
        "escalation_acknowledged",
        "escalation_closed",
        "escalation_undelivered",
    )
)

# Of the chassis, which the traffic does not use.
CHASSIS = frozenset(
    (
        "swarm_loaded",
        "swarm_unloaded",
        "task_executed",
        "execution_cut",
        "limit_violated",
        "module_refused",
        "credential_issued",
        "credential_refused",
        "credential_revoked",
    )
)

# What somebody wrote into the outbox by hand; nobody of a run does.
NEVER = frozenset(("draft_unreadable",))

KNOWN = RULES.keys() | OTHERS | BREAKERS | HELP | ESCALATIONS | CHASSIS
"""Entries that a run may have; what is not here, and not `NEVER`, the model does not know."""
