"""IFNotify: every change of a swarm's status is known at once."""

import asyncio
import heapq
from collections.abc import Iterator
from datetime import timedelta
from typing import Protocol

from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.models import BlockerAlert, BlockerReport
from infrafabric_server.coordinator.requests import Requests
from infrafabric_server.coordinator.settlement import Ledger
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.leadership import Leadership, while_leading
from infrafabric_server.fleet.models import AgentStatus, Broadcast, Status
from infrafabric_server.limits import MAX_PAGE
from infrafabric_server.notify import rules
from infrafabric_server.notify.book import StatusBook
from infrafabric_server.notify.broadcasts import Broadcasts
from infrafabric_server.notify.charges import Charges
from infrafabric_server.notify.escalation import Escalation
from infrafabric_server.notify.help import HelpSearch
from infrafabric_server.notify.idle_queue import IdleQueue
from infrafabric_server.notify.models import Agent, Notified, Situation, StatusReport
from infrafabric_server.notify.ports import Coordinator
from infrafabric_server.notify.situations import Situations
from infrafabric_server.notify.sweeper import Sweeper
from infrafabric_server.store.mirror import Mirror, View
from infrafabric_server.witness.outbox import Outbox

BROADCASTS_KEPT = timedelta(minutes=10)
TOTALS_KEPT = timedelta(days=1)
"""How long the totals of a deregistered swarm are known, should its process report again."""

# A swarm or its claim may vanish while a report is handled, but not every time.
_MAX_TRIES = 5
_CLAIM_GONE = (
    Reason.STALE_ATTEMPT,
    Reason.NOT_OWNER,
    Reason.TASK_NOT_CLAIMED,
    Reason.TASK_ENDED,
    Reason.TASK_NOT_FOUND,
)


class IFNotify(Protocol):
    """Statuses of swarms: reported, read, and told to everyone."""

    async def notify(self, report: StatusReport) -> Notified:
        """Take a status report; an unknown swarm registers itself.

        Raises OUTBOX_FULL, LIMIT_REACHED, CONTENTION, DRAINING and the store's errors.
        """
        ...

    async def broadcast(self, message: str, request_id: str = "") -> int:
        """Send a text to every session and watcher; return how many sessions are open.

        A repeat of `request_id` sends nothing twice. Raises REQUEST_ID_REUSED, OUTBOX_FULL.
        """
        ...

    def page(self, after: str, limit: int) -> list[Agent]:
        """Return up to `limit` statuses in the order of ids, from the first after `after`."""
        ...

    def agents(self) -> Iterator[Agent]:
        """Return all statuses as they are now, in the order of ids, each made when it is taken."""
        ...

    def idle_queue(self) -> list[str]:
        """Return the ids of the swarms that wait for work, the longest first."""
        ...

    def count(self) -> tuple[int, int]:
        """Return how many swarms have a status, and how many of them wait for work."""
        ...

    def open_blockers(self) -> list[BlockerAlert]:
        """Return the open blockers, oldest first, at most 1000."""
        ...


class Notify:
    """The use cases of statuses. `start` once the mirror is loaded, then `run`."""

    def __init__(
        self,
        mirror: Mirror,
        fleet: Fleet,
        coordinator: Coordinator,
        outbox: Outbox,
        clock: Clock,
        leadership: Leadership,
        ledger: Ledger,
        *,
        replica: str,
        broadcasts: View[Broadcast],
        requests: Requests,
        escalate_after: timedelta = timedelta(minutes=30),
    ) -> None:
        self._mirror = mirror
        self._fleet = fleet
        self._leadership = leadership
        self._coordinator = coordinator
        self._situations = Situations(
            fleet, coordinator.tasks, coordinator.blockers, coordinator.help
        )
        self._charges = Charges(ledger, fleet, outbox, clock)
        self._book = StatusBook(
            mirror, fleet, self._situations, self._charges, clock, leadership, replica
        )
        self._queue = IdleQueue(fleet.statuses)
        self._help = HelpSearch(fleet, self._queue)
        self._clock = clock
        self._broadcasts = Broadcasts(mirror, fleet, broadcasts, requests, outbox, clock)
        self.escalation = Escalation(coordinator, clock, escalate_after)
        self.broadcast_sweeper = Sweeper(
            mirror, broadcasts, clock, time=lambda each: each.send_time, keep=BROADCASTS_KEPT
        )
        self.departed_sweeper = Sweeper(
            mirror, fleet.departed, clock, time=lambda each: each.status_time, keep=TOTALS_KEPT
        )

    def start(self) -> None:
        """Take in the views, and find what a crash may have left undone.

        Call it before ended tasks are archived: they are still to be counted.
        """
        self._queue.start()
        self._book.start()
        self.escalation.start()
        self.broadcast_sweeper.start()
        self.departed_sweeper.start()

    async def run(self) -> None:
        """Let statuses follow what happens, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._book.run())
            sweepers = (self.broadcast_sweeper.run, self.departed_sweeper.run)
            for once in (self.escalation.run, *sweepers):
                group.create_task(while_leading(self._leadership, once))

    async def settled(self) -> None:
        """Return when every status takes account of all that happened."""
        await self._book.settled()

    async def notify(self, report: StatusReport) -> Notified:
        """See IFNotify."""
        # What a report changes, and what it is the end of, depends on what was said before.
        await self._mirror.catch_up()
        if report.cost_spent_micros:
            self._charges.check()
        for _ in range(_MAX_TRIES):
            try:
                return await self._notify(report)
            except FabricError as error:
                if error.reason is not Reason.SWARM_NOT_FOUND and error.reason not in _CLAIM_GONE:
                    raise
        raise FabricError(
            Reason.CONTENTION, f"{report.swarm_id} changes too fast; try again", retry_after=0.1
        )

    async def _notify(self, report: StatusReport) -> Notified:
        status = await self._introduce(report)
        if status is None:
            await self._make_known(report)
            if report.status is Status.BLOCKED:
                report = await self._block(report)
            else:
                await self._resume(report)
            status = await self._book.apply(
                report.swarm_id,
                lambda status, situation, now: rules.report(status, report, situation, now),
                charged=not report.by_session,
            )
        if status.status is Status.COMPLETED:
            await self._book.apply(report.swarm_id, rules.settle)
        return await self._answer(report)

    async def _answer(self, report: StatusReport) -> Notified:
        match report.status:
            case Status.IDLE | Status.COMPLETED:
                return Notified(queue_position=self._queue.position(report.swarm_id))
            case Status.HELP:
                return Notified(helpers=await self._help.find(report.swarm_id, report.needs))
            case _:
                return Notified(escalated=report.status is Status.BLOCKED)

    async def _introduce(self, report: StatusReport) -> AgentStatus | None:
        """Register a swarm that is not known together with its first status, and return that.

        A watcher hears what it said, and nothing before. None if it is known, or is blocked,
        which is a matter of its own.
        """
        swarm_id = report.swarm_id
        if swarm_id in self._fleet.swarms or report.status is Status.BLOCKED:
            return None
        now = self._clock.now()
        before = rules.initial(swarm_id, now, self._fleet.departed.get(swarm_id))
        status = rules.report(before, report, Situation(), now)
        first = self._fleet.statuses.put(swarm_id, status)
        rise = 0 if report.by_session else status.cost_spent_micros - before.cost_spent_micros
        begun = await self._coordinator.introduce(
            swarm_id, report.capabilities or None, first, *self._charges.rise(swarm_id, rise)
        )
        return status if begun else None

    async def _make_known(self, report: StatusReport) -> None:
        profile = self._fleet.swarms.get(report.swarm_id)
        said = report.capabilities
        if profile is None or (said and said != profile.capabilities):
            await self._coordinator.register_swarm(report.swarm_id, said or None)

    async def _block(self, report: StatusReport) -> StatusReport:
        """Open the blocker, and return the report with the name of what it is about."""
        swarm_id = report.swarm_id
        task_id, text = rules.blocked_on(
            self._status(swarm_id), report, self._situations.of(swarm_id)
        )
        task = self._coordinator.tasks.get(task_id) if task_id else None
        info = BlockerReport(
            task_id=task_id,
            attempt=0 if task is None else task.attempt,
            description=report.message or "it gave no reason",
            needs=report.needs,
        )
        await self._coordinator.detect_blocker(swarm_id, info)
        return report.model_copy(update={"last_task": task_id or text})

    async def _resume(self, report: StatusReport) -> None:
        """Close the blockers that the report is the end of."""
        swarm_id = report.swarm_id
        situation = self._situations.of(swarm_id)
        for task_id in rules.resumed(self._status(swarm_id), report, situation):
            try:
                await self._coordinator.resolve_blocker(
                    swarm_id, task_id, f"{swarm_id} reported {report.status.value}"
                )
            except FabricError as error:
                if error.reason is not Reason.BLOCKER_NOT_FOUND:
                    raise

    def _status(self, swarm_id: str) -> AgentStatus:
        known = self._fleet.statuses.get(swarm_id)
        return known or rules.initial(swarm_id, self._clock.now())

    async def broadcast(self, message: str, request_id: str = "") -> int:
        """See IFNotify."""
        return await self._broadcasts.send(message, request_id)

    def page(self, after: str, limit: int) -> list[Agent]:
        """See IFNotify."""
        entries = self._fleet.statuses.page(after, limit)
        return [self.see(entry.value) for entry in entries]

    def agents(self) -> Iterator[Agent]:
        """See IFNotify."""
        statuses = self._fleet.statuses
        return (self.see(entry.value) for entry in statuses.page("", len(statuses)))

    def idle_queue(self) -> list[str]:
        """See IFNotify."""
        return self._queue.ids()

    def count(self) -> tuple[int, int]:
        """See IFNotify."""
        return len(self._fleet.statuses), len(self._queue)

    def open_blockers(self) -> list[BlockerAlert]:
        """See IFNotify."""
        found = (alert for _, alert in self._coordinator.blockers.items() if alert.open)
        return heapq.nsmallest(MAX_PAGE, found, key=lambda alert: alert.create_time)

    def see(self, status: AgentStatus) -> Agent:
        """Return a status with what is shown beside it."""
        profile = self._fleet.swarms.get(status.swarm_id)
        return Agent(
            status=status,
            capabilities=frozenset() if profile is None else profile.capabilities,
            queue_position=self._queue.position(status.swarm_id),
        )
