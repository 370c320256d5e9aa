"""Tells sessions when a claim ends without their doing."""

from infrafabric_server.coordinator.dispatcher import ack_timer
from infrafabric_server.coordinator.frames import ClosingAction, Revoked, RevokeReason
from infrafabric_server.coordinator.link import Links, SessionLink
from infrafabric_server.coordinator.models import LossKind, Task, TaskState
from infrafabric_server.coordinator.timers import Timers
from infrafabric_server.errors import FabricError, Reason

_LOSSES = {
    LossKind.EXPIRED: RevokeReason.EXPIRED,
    LossKind.NO_PROGRESS: RevokeReason.NO_PROGRESS,
    LossKind.NOT_ACKNOWLEDGED: RevokeReason.NOT_ACKNOWLEDGED,
    LossKind.HALTED: RevokeReason.HALTED,
}


class Revocations:
    """Compares what sessions work on with what they hold."""

    def __init__(self, links: Links, timers: Timers) -> None:
        self._links = links
        self._timers = timers

    def task_changed(self, old: Task | None, new: Task | None) -> None:
        """Revoke the old claim at the session that worked on it, if it is over."""
        if old is None or old.claim is None:
            return
        held = old.claim
        if new is not None and new.claim is not None and new.claim.attempt == held.attempt:
            return
        link = self._links.get(held.swarm_id)
        if link is None or link.working.get(old.task_id) != held.attempt:
            return
        del link.working[old.task_id]
        self.acknowledged(link, old.task_id)
        if old.task_id not in link.ending_tasks:
            reason, detail = _why(new, held.attempt)
            link.send(Revoked(old.task_id, held.attempt, reason, detail))

    def acknowledged(self, link: SessionLink, task_id: str) -> None:
        """Expect no acknowledgement of a task any more: it came, or the claim is over."""
        if link.unacknowledged.pop(task_id, None) is not None:
            self._timers.clear(ack_timer(link, task_id))

    def session_opened(self, swarm_id: str, epoch: int) -> None:
        """End an older stream of a swarm, also when whoever opened the newer one has failed."""
        link = self._links.get(swarm_id)
        if link is not None and link.epoch < epoch:
            message = f"a newer stream of {swarm_id} took over"
            link.end(ClosingAction.STOP, message, FabricError(Reason.SESSION_FENCED, message))

    def session_lost(self, swarm_id: str, *, known: bool) -> None:
        """End the stream of a session whose lease is over, or whose swarm is not known any more."""
        link = self._links.get(swarm_id)
        if link is None:
            return
        action, message = ClosingAction.STOP, f"{swarm_id} was deregistered"
        if known:
            action = ClosingAction.RESTART
            message = f"nothing was heard of {swarm_id} for longer than its lease; open a new one"
        link.end(action, message, FabricError(Reason.SESSION_EXPIRED, message))


def _why(new: Task | None, attempt: int) -> tuple[RevokeReason, str]:
    if new is None or new.state is TaskState.CANCELLED:
        return RevokeReason.CANCELLED, "" if new is None else new.reason
    if new.last_end is not None and new.last_end.attempt == attempt:
        return RevokeReason.ENDED_ELSEWHERE, f"the claim was {new.last_end.kind} by a call"
    if new.state is TaskState.FAILED:
        return RevokeReason.DEADLINE, new.reason
    kind = new.last_loss or LossKind.SESSION_LOST
    reason = _LOSSES.get(kind, RevokeReason.ENDED_ELSEWHERE)
    return reason, f"the claim was lost: {kind}"
