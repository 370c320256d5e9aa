"""The escalations in the store, changed together with all that follows from a change."""

from collections.abc import Mapping, Sequence

import structlog
from pydantic import JsonValue

from infrafabric_server.clock import Clock
from infrafabric_server.governor.escalation import rules
from infrafabric_server.governor.escalation.models import (
    Delivery,
    Escalation,
    Kind,
    Operation,
    State,
)
from infrafabric_server.governor.escalation.rules import Step
from infrafabric_server.store.mirror import Entry, Mirror, Write
from infrafabric_server.store.protocol import Compare, TxnResult, unchanged
from infrafabric_server.witness.outbox import PREFIX, Outbox

# Escalations that are kept, the closed ones of the last day included.
MAX_KEPT = 10_000
# Deliveries that wait, over all webhooks.
MAX_WAITING = 10_000
# One part of all room is for these alone, so that a flood of others does not hide them.
_GRAVE = frozenset({Kind.HOLD, Kind.BREAKER, Kind.BUDGET})
_PART = 4
# Closed ones that are forgotten at once when there is no room.
_MAKE_ROOM = 100

# What webhooks are told; others have to be looked up.
_TOLD = frozenset({Operation.OPENED, Operation.RAISED, Operation.ACKNOWLEDGED, Operation.CLOSED})
_COMPONENT = "governor"

_log = structlog.get_logger(__name__)


class EscalationRecords:
    """The views of escalations and deliveries, and the one way to change an escalation."""

    def __init__(
        self,
        mirror: Mirror,
        outbox: Outbox,
        clock: Clock,
        hooks: Sequence[str] = (),
        *,
        limit: int = MAX_KEPT,
        most_waiting: int = MAX_WAITING,
    ) -> None:
        """Declare the views.

        Args:
            mirror: has not started.
            outbox: where witness entries go.
            clock: the time.
            hooks: names of the webhooks that are told.
            limit: escalations that are kept.
            most_waiting: deliveries that wait for webhooks.
        """
        self.mirror = mirror
        self.clock = clock
        self.escalations = mirror.view("escalations/", Escalation)
        self.deliveries = mirror.view("deliveries/", Delivery)
        self._outbox = outbox
        self._hooks = tuple(hooks)
        self._limit = limit
        self._most_waiting = most_waiting
        self._closed = 0
        self.escalations.count(self._count)

    def _count(self, old: Escalation | None, new: Escalation | None) -> None:
        self._closed += _is_closed(new) - _is_closed(old)

    async def commit(
        self,
        escalation_id: str,
        entry: Entry[Escalation] | None,
        step: Step,
        *,
        compares: Sequence[Compare] = (),
        writes: Sequence[Write] = (),
        details: Mapping[str, JsonValue] | None = None,
    ) -> TxnResult:
        """Write a step if the escalation is as the step saw it, and `compares` hold.

        With it go its witness entry, what webhooks are to be told, and `writes`. After a refusal
        by the compares the views have caught up with what refused it.

        Raises OUTBOX_FULL before anything is written, and the store's errors.
        """
        key = self.escalations.key(escalation_id)
        revision = 0 if entry is None else entry.mod_revision
        if step.escalation is None:
            changes: list[Write] = [self.escalations.delete(escalation_id)]
        else:
            changes = self._changes(step.escalation, step.operation, details or {})
        result = await self.mirror.commit(
            [unchanged(key, revision), *compares], [*changes, *writes]
        )
        if not result.succeeded:
            await self.mirror.caught_up(result.revision)
        elif step.escalation is not None and step.operation is not None:
            _tell(step.escalation, step.operation)
        return result

    async def make_room(self, kind: Kind, fence: Sequence[Compare]) -> bool:
        """Forget closed escalations, the oldest first, if no more are kept than may be.

        Returns whether there is room for another one of a kind; for the hold, of which there is
        one, there always is. Raises the store's errors.
        """
        if kind is Kind.HOLD or len(self.escalations) < _room(self._limit, kind):
            return True
        if not self._closed:
            return False
        values = (entry.value for entry in self.escalations.entries())
        entries = [
            entry
            for each in rules.to_forget(values, _MAKE_ROOM)
            if (entry := self.escalations.entry(each.escalation_id)) is not None
        ]
        if not entries:
            return False
        compares = [unchanged(entry.key, entry.mod_revision) for entry in entries]
        deletes = [self.escalations.delete(entry.id) for entry in entries]
        result = await self.mirror.commit([*compares, *fence], deletes)
        return result.succeeded

    def _changes(
        self, escalation: Escalation, operation: Operation | None, details: Mapping[str, JsonValue]
    ) -> list[Write]:
        assert operation is not None, "every change of an escalation has a name"
        self._outbox.check()
        draft = self._outbox.draft(
            _COMPONENT,
            operation,
            swarm_id=escalation.swarm_id,
            task_id=escalation.task_id,
            details={
                "escalation_id": escalation.escalation_id,
                "level": escalation.level,
                "summary": escalation.summary,
                **details,
            },
        )
        deliveries: list[Write] = []
        if operation in _TOLD:
            entry_id = draft.key.removeprefix(PREFIX)
            escalation, deliveries = self._told(escalation, operation, entry_id)
        return [self.escalations.put(escalation.escalation_id, escalation), draft, *deliveries]

    def _told(
        self, escalation: Escalation, operation: Operation, entry_id: str
    ) -> tuple[Escalation, list[Write]]:
        """Return what webhooks are to be told; what finds no room is a dead letter at once."""
        if len(self.deliveries) + len(self._hooks) > _room(self._most_waiting, escalation.kind):
            _log.warning("webhooks_full", waiting=len(self.deliveries))
            letters = tuple(sorted({*escalation.dead_letters, *self._hooks}))
            return escalation.model_copy(update={"dead_letters": letters}), []
        now = self.clock.now()
        deliveries = [
            Delivery(
                hook=hook,
                entry_id=entry_id,
                operation=operation,
                escalation=escalation,
                create_time=now,
                due_time=now,
            )
            for hook in self._hooks
        ]
        return escalation, [self.deliveries.put(each.delivery_id, each) for each in deliveries]


def _room(most: int, kind: Kind) -> int:
    return most if kind in _GRAVE else most - most // _PART


def _is_closed(escalation: Escalation | None) -> bool:
    return escalation is not None and escalation.close_time is not None


def _tell(escalation: Escalation, operation: Operation) -> None:
    """Write the line of the log that a person may be waiting for."""
    log = _log.warning if escalation.state is State.OPEN else _log.info
    log(
        str(operation),
        escalation_id=escalation.escalation_id,
        escalation_level=escalation.level,
        swarm_id=escalation.swarm_id,
        task_id=escalation.task_id,
        summary=escalation.summary,
        acknowledged_by=escalation.acknowledged_by,
    )
