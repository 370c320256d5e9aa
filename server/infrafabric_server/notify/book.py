"""The one writer of statuses: folds what happened and what swarms report, and commits it.

All changes of statuses pass through one loop, so that they never race each other: a round
takes every swarm with something to tell, decides its next status by the rules, and writes
them all in one transaction. While it is written, the next round gathers.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from infrafabric_server.clock import Clock
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.fleet.models import AgentStatus, Status
from infrafabric_server.notify import rules
from infrafabric_server.notify.charges import Charges
from infrafabric_server.notify.models import MAX_TOGETHER, News, Situation
from infrafabric_server.notify.situations import Happened, Situations
from infrafabric_server.store.mirror import Entry, Mirror, Write
from infrafabric_server.store.protocol import Compare, StoreError, absent, present, unchanged

# With another replica as the only rival, so many lost rounds mean that it writes without end.
MAX_TRIES = 32
# Wait before what the store refused is tried again.
RETRY_SECONDS = 0.5
# By which time the store has answered a decision whose news are here; measured: a round that
# goes before it adds 0.4 ms to a claim of 2 ms.
_ANSWER_SECONDS = 0.001

Rule = Callable[[AgentStatus, Situation, datetime], AgentStatus]

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Request:
    """A change that somebody waits for."""

    rule: Rule
    answer: asyncio.Future[AgentStatus]
    charged: bool
    tries: int = 0


@dataclass(frozen=True, slots=True)
class _Step:
    """The next status of one swarm, None to forget it, and what led to it.

    `rise` is what is charged to it for the total that it reported; `departed` is what stays of a
    status that is forgotten.
    """

    swarm_id: str
    entry: Entry[AgentStatus] | None
    after: AgentStatus | None
    news: list[tuple[int, News]] = field(default_factory=list)
    request: _Request | None = None
    rise: int = 0
    departed: AgentStatus | None = None

    @property
    def changes(self) -> bool:
        """Whether there is something to write."""
        return self.after != (None if self.entry is None else self.entry.value)


class StatusBook:
    """Keeps the statuses of all swarms in the store.

    What happens to a swarm is written by the replica that has its session, or else by the leader;
    what it reports by the replica that it reports to. `start` once the mirror is loaded and before
    anything else changes it; then `run`.
    """

    def __init__(
        self,
        mirror: Mirror,
        fleet: Fleet,
        situations: Situations,
        charges: Charges,
        clock: Clock,
        leadership: Leadership,
        replica: str,
    ) -> None:
        self._mirror = mirror
        self._leadership = leadership
        self._replica = replica
        # Swarms that another replica writes of: it may have left something undone.
        self._elsewhere: set[str] = set()
        self._fleet = fleet
        self._situations = situations
        self._charges = charges
        self._clock = clock
        self._news: dict[str, list[tuple[int, News]]] = {}
        self._requests: dict[str, deque[_Request]] = {}
        self._dirty: dict[str, None] = {}
        self._unrepaired: set[str] = set()
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._round_size = MAX_TOGETHER
        self._newest = 0
        self._closed = False

    def start(self) -> None:
        """Find what a crash may have left undone between a change and its effect on a status."""
        self._situations.start(self.heard)
        self._elsewhere.update(self._fleet.swarms, self._fleet.statuses)
        self._take_on()
        self._leadership.follow(lambda _leading: self._take_on())

    def _take_on(self) -> None:
        """Write from now on of the swarms that no other replica writes of."""
        for swarm_id in [each for each in self._elsewhere if self._is_ours(each)]:
            self._take_over(swarm_id)

    def _take_over(self, swarm_id: str) -> None:
        """Find what whoever wrote of a swarm before has left undone."""
        self._elsewhere.discard(swarm_id)
        missed = self._missed(swarm_id)
        if missed:
            self._news[swarm_id] = missed
        status = self._fleet.statuses.get(swarm_id)
        if status is None or swarm_id not in self._fleet.swarms:
            self._touch(swarm_id)
            return
        situation = self._situations.of(swarm_id)
        if rules.repaired(status, situation, self._clock.now()) is not status:
            self._unrepaired.add(swarm_id)
            self._touch(swarm_id)
        elif missed or status.status is Status.COMPLETED:
            self._touch(swarm_id)

    def _is_ours(self, swarm_id: str) -> bool:
        if not self._mirror.shared:
            return True
        session = self._fleet.sessions.get(swarm_id)
        return self._leadership.leading if session is None else session.replica == self._replica

    def heard(self, happened: Happened) -> None:
        """Note that something happened to a swarm; its status follows in the next round."""
        swarm_id = happened.swarm_id
        self._newest = max(self._newest, happened.revision)
        if not self._is_ours(swarm_id):
            self._elsewhere.add(swarm_id)
            return
        if swarm_id in self._elsewhere:
            self._take_over(swarm_id)
            self._touch(swarm_id)
            return
        if happened.news is not None:
            news = (happened.revision, happened.news)
            self._news.setdefault(happened.swarm_id, []).append(news)
        self._touch(happened.swarm_id)

    async def apply(self, swarm_id: str, rule: Rule, *, charged: bool = False) -> AgentStatus:
        """Change the status of a swarm by `rule`, after all that happened to it before.

        If it is `charged`, what the rule adds to the swarm's costs is charged with it.
        Returns the status as it is written. Raises SWARM_NOT_FOUND, CONTENTION, DRAINING
        and the store's errors.
        """
        if self._closed:
            raise _stopping()
        request = _Request(rule, asyncio.get_running_loop().create_future(), charged)
        self._requests.setdefault(swarm_id, deque()).append(request)
        self._touch(swarm_id)
        return await request.answer

    async def settled(self) -> None:
        """Return when every status takes account of all that happened."""
        await self._settled.wait()

    async def run(self) -> None:
        """Write what is to be written, until cancelled."""
        try:
            while True:
                await self._wake.wait()
                # Whoever waits for the decision behind the news is answered first. Where others
                # write, too, the watch brings the news before the decision's own answer.
                behind = self._mirror.shared and not self._requests
                await asyncio.sleep(_ANSWER_SECONDS if behind else 0)
                # A status says up to which revision it takes account of everything.
                while self._mirror.shared and self._mirror.revision < self._newest:
                    await self._mirror.caught_up(self._newest)
                await self._round()
                if not self._dirty:
                    self._wake.clear()
                    self._settled.set()
        finally:
            self._closed = True
            for waiting in self._requests.values():
                for request in waiting:
                    _fail(request, _stopping())

    def _touch(self, swarm_id: str) -> None:
        self._dirty[swarm_id] = None
        self._wake.set()
        self._settled.clear()

    async def _round(self) -> None:
        steps: list[_Step] = []
        while self._dirty and len(steps) < self._round_size:
            swarm_id = next(iter(self._dirty))
            del self._dirty[swarm_id]
            step = self._decide(swarm_id)
            if step is not None:
                steps.append(step)
        try:
            written = await self._write([step for step in steps if step.changes])
        except StoreError as error:
            _log.warning("statuses_not_written", swarms=len(steps), error=str(error))
            for step in steps:
                if step.request is not None:
                    _fail(step.request, error)
                self._put_back(step)
            await asyncio.sleep(RETRY_SECONDS)
            return
        # After a lost round smaller ones, so that the rival's swarm does not hold up the others.
        self._round_size = MAX_TOGETHER if written else max(1, self._round_size // 4)
        for step in steps:
            self._done(step) if written else self._lost(step)

    def _decide(self, swarm_id: str) -> _Step | None:
        entry = self._fleet.statuses.entry(swarm_id)
        news = self._news.pop(swarm_id, [])
        ours = self._is_ours(swarm_id)
        request = self._next_request(swarm_id)
        if not ours:
            self._elsewhere.add(swarm_id)
            news = []
            if request is None:
                return None
        if swarm_id not in self._fleet.swarms:
            unknown = FabricError(Reason.SWARM_NOT_FOUND, f"no swarm has the id {swarm_id}")
            for each in self._requests.pop(swarm_id, ()):
                _fail(each, unknown)
            return None if entry is None or not ours else self._forgotten(swarm_id, entry, news)
        now = self._clock.now()
        situation = self._situations.of(swarm_id)
        departed = self._fleet.departed.get(swarm_id)
        status = rules.initial(swarm_id, now, departed) if entry is None else entry.value
        if not ours or swarm_id in self._unrepaired:
            status = rules.repaired(status, situation, now)
        status = rules.settle(status, situation, now)
        # Who writes in place of another replica takes account of what that one has not come to.
        unseen = news if ours else self._missed(swarm_id)
        unseen.sort(key=lambda each: each[0])
        counted = status.counted_revision
        fresh = (item for revision, item in unseen if revision > counted)
        status = rules.fold(status, fresh, situation, now)
        rise = 0
        if request is not None:
            before = status.cost_spent_micros
            status = request.rule(status, situation, now)
            rise = status.cost_spent_micros - before if request.charged else 0
        if status != (None if entry is None else entry.value) and (entry or self._mirror.shared):
            status = rules.count_settled(status, self._mirror.revision)
        return _Step(swarm_id, entry, status, news, request, rise)

    def _forgotten(
        self, swarm_id: str, entry: Entry[AgentStatus], news: list[tuple[int, News]]
    ) -> _Step:
        """Return the step of a swarm that was deregistered: its totals stay."""
        now, counted = self._clock.now(), entry.value.counted_revision
        fresh = (item for revision, item in news if revision > counted)
        last = rules.fold(entry.value, fresh, self._situations.of(swarm_id), now)
        return _Step(swarm_id, entry, None, news, departed=rules.initial(swarm_id, now, last))

    def _missed(self, swarm_id: str) -> list[tuple[int, News]]:
        missed = self._situations.missed(swarm_id)
        return [(each.revision, each.news) for each in missed if each.news is not None]

    def _next_request(self, swarm_id: str) -> _Request | None:
        waiting = self._requests.get(swarm_id)
        while waiting:
            if not waiting[0].answer.done():
                return waiting[0]
            waiting.popleft()
        self._requests.pop(swarm_id, None)
        return None

    async def _write(self, steps: list[_Step]) -> bool:
        if not steps:
            return True
        compares: list[Compare] = []
        writes: list[Write] = []
        for step in steps:
            seen = 0 if step.entry is None else step.entry.mod_revision
            compares.append(unchanged(self._fleet.statuses.key(step.swarm_id), seen))
            swarm = self._fleet.swarms.key(step.swarm_id)
            if step.after is None:
                compares.append(absent(swarm))
                writes.append(self._fleet.statuses.delete(step.swarm_id))
                if step.departed is not None and step.departed.cost_spent_micros:
                    writes.append(self._fleet.departed.put(step.swarm_id, step.departed))
            else:
                compares.append(present(swarm))
                writes.append(self._fleet.statuses.put(step.swarm_id, step.after))
                writes.extend(self._charges.rise(step.swarm_id, step.rise))
        result = await self._mirror.commit(compares, writes)
        if not result.succeeded:
            await self._mirror.caught_up(result.revision)
        return result.succeeded

    def _done(self, step: _Step) -> None:
        self._unrepaired.discard(step.swarm_id)
        if step.request is not None and step.after is not None:
            self._requests[step.swarm_id].remove(step.request)
            if not step.request.answer.done():
                step.request.answer.set_result(step.after)
        follows = step.after is not None and step.after.status is Status.COMPLETED
        if follows or self._next_request(step.swarm_id) is not None:
            self._touch(step.swarm_id)

    def _lost(self, step: _Step) -> None:
        if step.request is not None:
            step.request.tries += 1
            if step.request.tries >= MAX_TRIES:
                text = f"the status of {step.swarm_id} changes too fast; try again"
                _fail(step.request, FabricError(Reason.CONTENTION, text, retry_after=0.1))
        self._put_back(step)

    def _put_back(self, step: _Step) -> None:
        if step.news:
            self._news[step.swarm_id] = step.news + self._news.get(step.swarm_id, [])
        self._touch(step.swarm_id)


def _fail(request: _Request, error: Exception) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)


def _stopping() -> FabricError:
    return FabricError(Reason.DRAINING, "the server stops and takes no more reports; try again")
