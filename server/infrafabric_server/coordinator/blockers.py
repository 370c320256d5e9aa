"""Blockers: an incident opens, is brought before the orchestrator, and is resolved."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infrafabric_server.coordinator import rules
from infrafabric_server.coordinator.models import BlockerAlert, BlockerReport
from infrafabric_server.coordinator.records import MAX_TRIES, Fact, Records
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.store.mirror import Write
from infrafabric_server.store.protocol import Compare, present, unchanged


@dataclass(frozen=True, slots=True)
class Opening:
    """An incident that was reported, and what its transaction compares, writes and tells."""

    alert: BlockerAlert
    compares: Sequence[Compare]
    writes: Sequence[Write]
    fact: Fact


class Blockers:
    """Use cases about blockers; one incident is open for each swarm and task."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def report(
        self, swarm_id: str, report: BlockerReport, epoch: int | None = None
    ) -> BlockerAlert:
        """Open an incident or update the open one, and park the task that it names.

        A repeat of the last report by its request id changes nothing, even when the incident is
        resolved already. Raises SWARM_NOT_FOUND, CONTENTION and, with a task, as
        `rules.holder_claim`.
        """
        blocker_id = self._records.blocker_id(swarm_id, report.task_id)
        for _ in range(MAX_TRIES):
            if self._records.fleet.swarms.get(swarm_id) is None:
                raise FabricError(Reason.SWARM_NOT_FOUND, f"no swarm has the id {swarm_id}")
            entry = self._records.blockers.entry(blocker_id)
            if entry is not None and _repeats(entry.value, report):
                return entry.value
            opening = self.opening(swarm_id, report)
            compares = [present(self._records.fleet.swarms.key(swarm_id)), *opening.compares]
            if epoch is not None:
                compares.append(unchanged(self._records.fleet.sessions.key(swarm_id), epoch))
            result = await self._records.commit(compares, opening.writes, [opening.fact])
            if result.succeeded:
                return opening.alert
        raise _contention(blocker_id)

    def opening(self, swarm_id: str, report: BlockerReport, help_id: str = "") -> Opening:
        """Return what opens an incident or updates the open one, and parks its task.

        `help_id` is the request for help that it has from now on, "" to leave that as it is.
        Raises, with a task, as `rules.holder_claim`.
        """
        blocker_id = self._records.blocker_id(swarm_id, report.task_id)
        entry = self._records.blockers.entry(blocker_id)
        alert = self._alert(swarm_id, report, entry.value if entry is not None else None)
        if help_id:
            alert = alert.model_copy(update={"help_id": help_id})
        same = unchanged(self._records.blockers.key(blocker_id), entry.mod_revision if entry else 0)
        compares, writes = self._park(swarm_id, report)
        fact = Fact(
            "blocker_reported",
            swarm_id,
            report.task_id,
            report.attempt,
            {"description": report.description, "needs": sorted(report.needs)},
        )
        opened = self._records.blockers.put(blocker_id, alert)
        return Opening(alert, [same, *compares], [opened, *writes], fact)

    def _alert(
        self, swarm_id: str, report: BlockerReport, known: BlockerAlert | None
    ) -> BlockerAlert:
        now = self._records.clock.now()
        said = _said(report)
        if known is not None and known.open:
            return known.model_copy(update=said | {"update_time": now})
        return BlockerAlert(
            blocker_id=self._records.blocker_id(swarm_id, report.task_id),
            swarm_id=swarm_id,
            task_id=report.task_id,
            create_time=now,
            update_time=now,
            **said,
        )

    def _park(self, swarm_id: str, report: BlockerReport) -> tuple[list[Compare], list[Write]]:
        if not report.task_id:
            return [], []
        entry = self._records.tasks.entry(report.task_id)
        if entry is None:
            raise FabricError(Reason.TASK_NOT_FOUND, f"no task has the id {report.task_id}")
        rules.holder_claim(entry.value, swarm_id, report.attempt)
        parked = rules.park(entry.value, parked=True, now=self._records.clock.now())
        return (
            [unchanged(entry.key, entry.mod_revision)],
            [self._records.tasks.put(report.task_id, parked)],
        )

    async def resolve(self, swarm_id: str, task_id: str, resolution: str) -> BlockerAlert:
        """Close an incident and give the parked task back to its holder.

        Raises BLOCKER_NOT_FOUND, CONTENTION.
        """
        blocker_id = self._records.blocker_id(swarm_id, task_id)
        for _ in range(MAX_TRIES):
            entry = self._records.blockers.entry(blocker_id)
            if entry is None or not entry.value.open:
                about = f"task {task_id}" if task_id else "anything else than a task"
                raise FabricError(
                    Reason.BLOCKER_NOT_FOUND, f"swarm {swarm_id} has no open blocker for {about}"
                )
            now = self._records.clock.now()
            closed = entry.value.model_copy(
                update={"resolve_time": now, "update_time": now, "resolution": resolution}
            )
            compares, writes = self._unpark(swarm_id, task_id)
            fact = Fact(
                "blocker_resolved", swarm_id, task_id, closed.attempt, {"resolution": resolution}
            )
            result = await self._records.commit(
                [unchanged(entry.key, entry.mod_revision), *compares],
                [self._records.blockers.put(blocker_id, closed), *writes],
                [fact],
            )
            if result.succeeded:
                return closed
        raise _contention(blocker_id)

    def _unpark(self, swarm_id: str, task_id: str) -> tuple[list[Compare], list[Write]]:
        entry = self._records.tasks.entry(task_id) if task_id else None
        held = entry.value.claim if entry is not None else None
        if entry is None or held is None or held.swarm_id != swarm_id or not held.parked:
            return [], []
        returned = rules.park(entry.value, parked=False, now=self._records.clock.now())
        compare = unchanged(entry.key, entry.mod_revision)
        return [compare], [self._records.tasks.put(task_id, returned)]

    async def escalate(self, alert: BlockerAlert) -> None:
        """Bring an incident that lasts before the orchestrator once more; not a resolved one."""
        entry = self._records.blockers.entry(alert.blocker_id)
        if entry is None or not entry.value.open or entry.value.escalations != alert.escalations:
            return
        known = entry.value
        raised = known.model_copy(
            update={
                "escalations": known.escalations + 1,
                "update_time": self._records.clock.now(),
            }
        )
        fact = Fact(
            "blocker_escalated",
            known.swarm_id,
            known.task_id,
            known.attempt,
            {"escalations": raised.escalations},
        )
        await self._records.commit(
            [unchanged(entry.key, entry.mod_revision)],
            [self._records.blockers.put(known.blocker_id, raised)],
            [fact],
        )


def _repeats(known: BlockerAlert, report: BlockerReport) -> bool:
    return bool(report.request_id) and _said(report) == _said(known)


def _said(report: BlockerReport | BlockerAlert) -> dict[str, Any]:
    return report.model_dump(include={"attempt", "description", "needs", "request_id"})


def _contention(blocker_id: str) -> FabricError:
    return FabricError(
        Reason.CONTENTION, f"blocker {blocker_id} changes too fast; try again", retry_after=0.1
    )
