"""Asking for help, and accepting to help: each is one transaction with its witness entries."""

from contextlib import nullcontext

from infrafabric_server.coordinator import rules as tasks
from infrafabric_server.coordinator.blockers import Blockers
from infrafabric_server.coordinator.help.liveness import Liveness
from infrafabric_server.coordinator.help.room import Room
from infrafabric_server.coordinator.models import BlockerReport, Task
from infrafabric_server.coordinator.records import MAX_TRIES, Fact, Records
from infrafabric_server.errors import FabricError, FieldViolation, InvalidField, Reason
from infrafabric_server.fleet.models import SessionRole, SwarmProfile
from infrafabric_server.governor.gate import Gate
from infrafabric_server.governor.help import rules
from infrafabric_server.governor.help.models import Acceptance, HelpRequest, HelpState, Wanted
from infrafabric_server.governor.listing import Part, filtered
from infrafabric_server.governor.money import usd
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.turns import Turns
from infrafabric_server.store.mirror import Entry
from infrafabric_server.store.protocol import present, unchanged


class HelpRequests:
    """Use cases about requests for help. See `IFHelp`."""

    def __init__(
        self,
        records: Records,
        blockers: Blockers,
        liveness: Liveness,
        room: Room,
        gate: Gate,
        policies: PolicyBook,
        *,
        replica: str,
    ) -> None:
        """Take what they stand on; `replica` is different for every process of the fabric."""
        self._records = records
        self._blockers = blockers
        self._liveness = liveness
        self._room = room
        self._gate = gate
        self._policies = policies
        self._replica = replica
        self._issued = 0
        self._accepting = Turns()

    async def request(self, wanted: Wanted) -> HelpRequest:
        """See IFHelp."""
        blocker_id = self._records.blocker_id(wanted.swarm_id, wanted.task_id)
        report = BlockerReport(
            task_id=wanted.task_id,
            attempt=wanted.attempt,
            description=wanted.reason,
            needs=wanted.needs,
            request_id=wanted.request_id,
        )
        # What was made or has ended at other replicas counts, too.
        await self._records.mirror.catch_up()
        for _ in range(MAX_TRIES):
            if wanted.swarm_id not in self._records.fleet.swarms:
                raise _unknown(wanted.swarm_id)
            alert = self._records.blockers.get(blocker_id)
            known = self._records.help.entry(alert.help_id) if alert is not None else None
            if known is not None and rules.repeats(known.value, wanted):
                return known.value
            task = self._records.tasks.get(wanted.task_id)
            if known is not None and self._liveness.over(known.value):
                known = None
            request = self._requested(wanted, task, None if known is None else known.value)
            opening = self._blockers.opening(wanted.swarm_id, report, request.help_id)
            same = unchanged(
                self._records.help.key(request.help_id), known.mod_revision if known else 0
            )
            there = present(self._records.fleet.swarms.key(wanted.swarm_id))
            with self._room.place(wanted.swarm_id) if known is None else nullcontext():
                result = await self._records.commit(
                    [same, there, *opening.compares],
                    [*opening.writes, self._records.help.put(request.help_id, request)],
                    [opening.fact, self._fact(request)],
                )
            if result.succeeded:
                return request
        raise _contention(blocker_id)

    def _requested(
        self, wanted: Wanted, task: Task | None, known: HelpRequest | None
    ) -> HelpRequest:
        """Return a new request, or the `known` one as it is asked for now."""
        if task is None:
            raise FabricError(Reason.TASK_NOT_FOUND, f"no task has the id {wanted.task_id}")
        held = tasks.holder_claim(task, wanted.swarm_id, wanted.attempt)
        # What helpers have drawn already is part of what they may spend together.
        drawn = 0 if known is None else known.drawn_micros
        most = drawn + held.left_micros
        # Whoever helps counts on the budget: what is beyond it opens the breaker of a helper.
        least = known.budget_micros if known is not None and known.helpers else 0
        most = max(most, least)
        budget = most if wanted.budget_micros is None else wanted.budget_micros
        if budget < least:
            rule = f"must be at least {usd(least)} while somebody helps; it is {usd(budget)}"
            raise InvalidField(FieldViolation("budget_micros", rule))
        if budget > most:
            also = " and what helpers have drawn on it" if drawn else ""
            left = f"{usd(most)}, what is left of the reservation{also}"
            rule = f"must be at most {left}; it is {usd(budget)}"
            raise InvalidField(FieldViolation("budget_micros", rule))
        now = self._records.clock.now()
        most_helpers = self._policies.current.policy.help.max_swarms_per_task
        if known is None:
            # Ids sort by age, whichever replica makes them.
            self._issued += 1
            help_id = f"{int(now.timestamp() * 1_000_000):014x}-{self._replica}-{self._issued:x}"
            return rules.requested(
                help_id, wanted, now, budget_micros=budget, max_helpers=most_helpers
            )
        return rules.updated(known, wanted, now, budget_micros=budget, max_helpers=most_helpers)

    def _fact(self, request: HelpRequest) -> Fact:
        details = {
            "help_id": request.help_id,
            "reason": request.reason,
            "needs": sorted(request.needs),
            "urgency": request.urgency.value,
            "budget_micros": request.budget_micros,
            "max_helpers": request.max_helpers,
            "policy_hash": self._policies.current.hash,
        }
        return Fact("help_requested", request.swarm_id, request.task_id, request.attempt, details)

    async def accept(self, help_id: str, swarm_id: str) -> Acceptance:
        """See IFHelp."""
        # One after the other, for the slots of a swarm are counted before it takes one more.
        async with self._accepting.of(swarm_id):
            # What it has accepted at other replicas takes slots, too.
            await self._records.mirror.catch_up()
            return await self._accept(help_id, swarm_id)

    async def _accept(self, help_id: str, swarm_id: str) -> Acceptance:
        for _ in range(MAX_TRIES):
            entry = self._records.help.entry(help_id)
            if entry is None:
                raise not_found(help_id)
            request = entry.value
            profile = self._records.fleet.swarms.get(swarm_id)
            if profile is None:
                raise _unknown(swarm_id)
            if swarm_id == request.swarm_id:
                rule = f"must be another swarm than {swarm_id}, which asks"
                raise InvalidField(FieldViolation("swarm_id", rule))
            refusal = self._refusal(request, profile)
            if refusal or swarm_id in request.helper_ids:
                return Acceptance(request, refusal)
            accepted = await self._join(entry, swarm_id)
            if accepted is not None:
                return Acceptance(accepted)
        raise _contention(help_id)

    def _refusal(self, request: HelpRequest, profile: SwarmProfile) -> str:
        ended = self._liveness.over(request)
        if ended:
            return f"the request is over: {ended}"
        swarm_id, slots = profile.swarm_id, profile.max_concurrent_tasks
        if swarm_id in request.helper_ids:
            return ""
        closed = self._gate.closed(swarm_id)
        if closed is not None:
            return closed.detail
        if self._room.helping(swarm_id) >= slots:
            return f"{swarm_id} helps with as many requests as it has slots, {slots}"
        return rules.refusal(request, swarm_id)

    async def _join(self, entry: Entry[HelpRequest], swarm_id: str) -> HelpRequest | None:
        """Write that a swarm helps; None when what it was decided on has changed."""
        request, fleet = entry.value, self._records.fleet
        session = fleet.sessions.entry(swarm_id)
        worker = session is not None and session.value.role is SessionRole.WORKER
        joined = rules.accepted(request, swarm_id, self._records.clock.now(), in_session=worker)
        details = {
            "help_id": request.help_id,
            "asking_swarm_id": request.swarm_id,
            "helpers": list(joined.helper_ids),
        }
        result = await self._records.commit(
            [
                unchanged(entry.key, entry.mod_revision),
                *self._liveness.same(request),
                present(fleet.swarms.key(swarm_id)),
                unchanged(fleet.sessions.key(swarm_id), session.mod_revision if session else 0),
                *self._gate.compares(swarm_id),
            ],
            [self._records.help.put(request.help_id, joined)],
            [Fact("help_accepted", swarm_id, request.task_id, request.attempt, details)],
        )
        return joined if result.succeeded else None

    async def page(self, after: str, limit: int, state: HelpState | None) -> Part[HelpRequest]:
        """See IFHelp."""
        return await filtered(
            self._records.help, after, limit, lambda each: state in (None, each.state)
        )


def not_found(help_id: str) -> FabricError:
    """Return the refusal of an id that no request has."""
    return FabricError(
        Reason.HELP_NOT_FOUND,
        f"no request for help has the id {help_id}; ended ones are kept for an hour",
    )


def _unknown(swarm_id: str) -> FabricError:
    return FabricError(Reason.SWARM_NOT_FOUND, f"no swarm has the id {swarm_id}")


def _contention(name: str) -> FabricError:
    return FabricError(Reason.CONTENTION, f"{name} changes too fast; try again", retry_after=0.1)
