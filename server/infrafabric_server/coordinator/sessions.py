"""Sessions: opened, resumed, taken over, kept alive and closed."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from infrafabric_server.coordinator.announcements import sayings
from infrafabric_server.coordinator.capacity import Capacity
from infrafabric_server.coordinator.claims import Claims
from infrafabric_server.coordinator.dispatcher import Dispatcher
from infrafabric_server.coordinator.frames import (
    Alert,
    Beat,
    ClosingAction,
    Delivery,
    Holding,
    Opened,
)
from infrafabric_server.coordinator.link import Links, SessionLink
from infrafabric_server.coordinator.models import LossKind, Task
from infrafabric_server.coordinator.offers import Offers
from infrafabric_server.coordinator.reactions import Reactions
from infrafabric_server.coordinator.records import MAX_TRIES, Fact, Records
from infrafabric_server.coordinator.registration import (
    Joining,
    check_room,
    registered,
    registration_fact,
)
from infrafabric_server.coordinator.revocations import Revocations
from infrafabric_server.coordinator.slots import Slots
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.models import SessionRecord, SessionRole
from infrafabric_server.store.mirror import Entry, Write
from infrafabric_server.store.protocol import Compare, LeaseNotFound, unchanged

# A lease is renewed at most this many times within its length, however much a client says.
_RENEWALS = 10


@dataclass(frozen=True, slots=True)
class Opening:
    """What a client says when it opens a stream; see OpenFrame in the contract."""

    joining: Joining
    role: SessionRole
    resume_token: str
    after_broadcast: int | None
    credit: int | None


def token_hash(token: str) -> str:
    """Return what is kept of a resume token."""
    return hashlib.sha256(token.encode()).hexdigest()


class Sessions:
    """Use cases about the sessions of this replica.

    `greet` tells one that has just opened, or was resumed, what else it has to know;
    `lease_seconds` is how long silence lasts.
    """

    def __init__(
        self,
        records: Records,
        capacity: Capacity,
        claims: Claims,
        dispatcher: Dispatcher,
        offers: Offers,
        reactions: Reactions,
        revocations: Revocations,
        links: Links,
        slots: Slots,
        greet: Callable[[SessionLink, bool], None],
        *,
        replica: str,
        lease_seconds: float,
    ) -> None:
        self._records = records
        self._capacity = capacity
        self._claims = claims
        self._dispatcher = dispatcher
        self._offers = offers
        self._reactions = reactions
        self._revocations = revocations
        self._links = links
        self._slots = slots
        self._greet = greet
        self._replica = replica
        self._lease_seconds = lease_seconds
        self._renewed: dict[int, float] = {}
        self._drain_reason = ""

    @property
    def draining(self) -> bool:
        """Whether sessions are asked to go elsewhere."""
        return bool(self._drain_reason)

    async def open(self, opening: Opening) -> SessionLink:
        """Open a session, fence an older one of the same swarm, and send what it needs to know.

        With the right token the claims are kept as they are, otherwise under new attempts.
        Raises LIMIT_REACHED, CONTENTION.
        """
        swarm_id = opening.joining.swarm_id
        lease = await self._records.store.grant(self._lease_seconds)
        for _ in range(MAX_TRIES):
            earlier = self._records.fleet.sessions.entry(swarm_id)
            resumed = earlier is not None and _resumes(earlier.value, opening)
            profile = self._records.fleet.swarms.entry(swarm_id)
            check_room(self._records.fleet.swarms, swarm_id)
            compares, writes, facts = self._takeover(opening, earlier, resumed=resumed)
            joined = registered(profile, opening.joining, self._records.clock.now())
            compares.append(
                unchanged(
                    self._records.fleet.swarms.key(swarm_id),
                    profile.mod_revision if profile is not None else 0,
                )
            )
            if profile is None or joined != profile.value:
                writes.append(self._records.fleet.swarms.put(swarm_id, joined))
                facts.append(registration_fact(joined))
            # A resumed stream keeps its token: if its welcome is lost, the client has no other.
            token = opening.resume_token if resumed else secrets.token_urlsafe(24)
            writes.append(self._session_write(opening, token, lease))
            operation = "session_resumed" if resumed else "session_opened"
            facts.append(Fact(operation, swarm_id, details={"replica": self._replica}))
            try:
                result = await self._records.commit(compares, writes, facts)
            except LeaseNotFound:
                # The store was so slow that the lease has ended meanwhile.
                lease = await self._records.store.grant(self._lease_seconds)
                continue
            if result.succeeded:
                # What came before, through another replica too, is part of the welcome.
                await self._records.mirror.caught_up(result.revision)
                heard = opening.after_broadcast
                link = SessionLink(
                    swarm_id,
                    result.revision,
                    lease,
                    opening.role,
                    opening.credit,
                    result.revision if heard is None else heard,
                )
                if self._over_already(link):
                    return link
                self._links.add(link)
                self._welcome(link, token, opening, resumed=resumed)
                if self.draining:
                    link.end(ClosingAction.RESUME, self._drain_reason)
                return link
        await self._records.store.revoke(lease)
        raise FabricError(
            Reason.CONTENTION, f"too many streams of {swarm_id} open at once", retry_after=1.0
        )

    def _session_write(self, opening: Opening, token: str, lease: int) -> Write:
        swarm_id = opening.joining.swarm_id
        record = SessionRecord(
            swarm_id=swarm_id,
            role=opening.role,
            replica=self._replica,
            resume_token_hash=token_hash(token),
            open_time=self._records.clock.now(),
        )
        return self._records.fleet.sessions.put(swarm_id, record, lease=lease)

    def _takeover(
        self, opening: Opening, earlier: Entry[SessionRecord] | None, *, resumed: bool
    ) -> tuple[list[Compare], list[Write], list[Fact]]:
        """Return what a new stream changes of what an earlier one left.

        That may be claims without a session too, which nobody has taken back yet. Who comes to
        supervise works on none of them: they go back.
        """
        swarm_id = opening.joining.swarm_id
        seen = earlier.mod_revision if earlier is not None else 0
        # A claim through another replica that is not in the view yet must not be passed over.
        compares = [
            unchanged(self._records.fleet.sessions.key(swarm_id), seen),
            *self._slots.unseen(swarm_id),
        ]
        writes: list[Write] = []
        facts: list[Fact] = []
        if resumed:
            return compares, writes, facts
        for task_id in self._capacity.holdings(swarm_id):
            entry = self._records.tasks.entry(task_id)
            held = entry.value.claim if entry is not None else None
            if entry is None or held is None or held.expire_time is not None:
                continue
            compares.append(unchanged(entry.key, entry.mod_revision))
            if opening.role is SessionRole.WORKER:
                decision = self._claims.taken_over(entry.value, held)
            else:
                decision = self._claims.taken_back(entry.value, held, LossKind.SESSION_CLOSED)
            writes.extend([self._records.tasks.put(task_id, decision.task), *decision.writes])
            facts.extend(decision.facts)
        return compares, writes, facts

    def _over_already(self, link: SessionLink) -> bool:
        """End a stream whose session was replaced or removed before its writer heard of it."""
        entry = self._records.fleet.sessions.entry(link.swarm_id)
        if entry is not None and entry.mod_revision == link.epoch:
            return False
        reason = Reason.SESSION_EXPIRED if entry is None else Reason.SESSION_FENCED
        action = ClosingAction.RESTART if entry is None else ClosingAction.STOP
        message = f"this session of {link.swarm_id} was over before it began"
        link.end(action, message, FabricError(reason, message))
        return True

    def _welcome(self, link: SessionLink, token: str, opening: Opening, *, resumed: bool) -> None:
        owned = self._owned(link.swarm_id)
        offered = self._offers.on_offer_to(link.swarm_id)
        holdings = tuple(_holding(task) for task in owned)
        link.send(Opened(link.epoch, token, self._lease_seconds, resumed, holdings, tuple(offered)))
        for task in owned:
            self._dispatcher.deliver(link, task, Delivery.RETURNED)
        if link.role is SessionRole.ORCHESTRATOR:
            alerts = [entry.value for entry in self._records.blockers.entries()]
            link.send(*(Alert(alert) for alert in alerts if alert.open))
        if opening.after_broadcast is not None:
            missed = self._records.broadcasts_after(opening.after_broadcast)
            link.send(*sayings(missed))
        self._greet(link, resumed)
        self._reactions.refresh(link.swarm_id)
        link.welcomed()

    def _owned(self, swarm_id: str) -> list[Task]:
        held = [self._records.tasks.get(name) for name in self._capacity.holdings(swarm_id)]
        owned = [
            task
            for task in held
            if task is not None and task.claim is not None and task.claim.expire_time is None
        ]
        owned.sort(key=lambda task: task.task_id)
        return owned

    async def keep_alive(self, link: SessionLink) -> None:
        """Renew the lease: something was heard of the session. Raises SESSION_EXPIRED."""
        now = self._records.clock.monotonic()
        if now - self._renewed.get(link.lease, -1e9) < self._lease_seconds / _RENEWALS:
            return
        self._renewed[link.lease] = now
        try:
            await self._records.store.keepalive(link.lease)
        except LeaseNotFound:
            raise FabricError(
                Reason.SESSION_EXPIRED,
                f"nothing was heard of {link.swarm_id} for longer than its lease",
            ) from None

    def heard(self, link: SessionLink) -> None:
        """Note that a session said more than that it is there: it is given tasks again."""
        if link.suspended:
            link.suspended = False
            self._reactions.refresh(link.swarm_id)

    def beat(self, link: SessionLink) -> None:
        """Answer a heartbeat with all that the session holds, and send again what it misses."""
        owned = self._owned(link.swarm_id)
        for task in owned:
            if link.working.get(task.task_id) != task.attempt:
                self._dispatcher.deliver(link, task, Delivery.RETURNED)
        link.send(Beat(tuple(_holding(task) for task in owned), self.draining))

    def acknowledge(self, link: SessionLink, task_id: str, attempt: int) -> None:
        """Note that a session has an assignment. Raises STALE_ATTEMPT for another attempt."""
        if link.working.get(task_id) != attempt:
            raise FabricError(
                Reason.STALE_ATTEMPT,
                f"task {task_id} is not assigned to {link.swarm_id} under attempt {attempt}",
            )
        self._revocations.acknowledged(link, task_id)
        self._reactions.refresh(link.swarm_id)

    def add_credit(self, link: SessionLink, tasks: int) -> None:
        """Allow so many task frames more; that changes nothing where they have no limit."""
        if link.credit is None:
            return
        link.credit += tasks
        self._reactions.refresh(link.swarm_id)

    async def close(self, link: SessionLink, reason: str) -> None:
        """End a session by its own word: what it holds goes back at once.

        The stream itself goes on until the caller has answered and finishes the link. If
        the end cannot be written, so does the session.
        """
        # What goes back must not come straight here again.
        link.suspended = True
        try:
            await self._close(link, reason)
        except Exception:
            if link.live:
                self._links.add(link)
            self.heard(link)
            raise

    async def _close(self, link: SessionLink, reason: str) -> None:
        swarm_id = link.swarm_id
        for task in self._owned(swarm_id):
            await self._claims.lose(
                swarm_id,
                task.task_id,
                task.attempt,
                LossKind.SESSION_CLOSED,
                unchanged(self._records.fleet.sessions.key(swarm_id), link.epoch),
            )
        self._links.remove(link)
        self._reactions.refresh(swarm_id)
        fact = Fact("session_closed", swarm_id, details={"reason": reason})
        key = self._records.fleet.sessions.key(swarm_id)
        await self._records.commit(
            [unchanged(key, link.epoch)], [self._records.fleet.sessions.delete(swarm_id)], [fact]
        )
        await self._records.store.revoke(link.lease)

    def detach(self, link: SessionLink) -> None:
        """Note that a stream is gone; its lease goes on, so that it can be resumed."""
        link.drop()
        self._renewed.pop(link.lease, None)
        self._links.remove(link)
        self._capacity.detached(link.swarm_id, link.epoch)
        self._reactions.refresh(link.swarm_id)

    def drain(self, reason: str) -> None:
        """Ask every session to resume elsewhere, and end the streams."""
        self._drain_reason = reason
        for link in self._links.live():
            link.end(ClosingAction.RESUME, reason)


def _resumes(earlier: SessionRecord, opening: Opening) -> bool:
    token = opening.resume_token
    shown = bool(token) and secrets.compare_digest(earlier.resume_token_hash, token_hash(token))
    return shown and earlier.role is opening.role


def _holding(task: Task) -> Holding:
    parked = task.claim is not None and task.claim.parked
    return Holding(task.task_id, task.attempt, parked)
