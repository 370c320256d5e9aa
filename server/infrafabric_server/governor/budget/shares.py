"""The fabric's limit, divided among replicas so that no claim has to ask the other replicas.

Each replica keeps what its claims have reserved within its share. It decides by its own views:
these may still show claims that have ended, but never lack one that the replica has written.

A share grows in a transaction of its own, for all claims that wait for it at that moment. A replica
that lacks money asks the others to give back what they do not need before it refuses a claim. When
the leader counts something as spent, it takes it off the share that it was paid from.

When a replica is gone, its share is free except for what its claims still hold. So that none of its
last claims comes too late, each compares that its replica is still there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.presence import Presence
from infrafabric_server.governor.budget.accounts import Accounts
from infrafabric_server.governor.budget.models import Allotments
from infrafabric_server.optimise.ledger import Ledger
from infrafabric_server.optimise.models import FABRIC
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import Compare, unchanged
from infrafabric_server.store.view import Change, Write

# How long a claim waits for other replicas to give back what they do not need.
_PATIENCE_SECONDS = 1.0
# How long others are not asked again for what they did not give.
_PAUSE_SECONDS = 1.0
# A claim that loses this many races for the shares is given up; somebody wins each of them.
_TRIES = 64

Spawn = Callable[[str, Callable[[], Awaitable[object]]], None]


class Shares:
    """This replica's share of the fabric's limit.

    `settle` is for the leader, which adds up what was spent.
    """

    def __init__(
        self,
        mirror: Mirror,
        ledger: Ledger,
        accounts: Accounts,
        presence: Presence,
        spawn: Spawn,
        *,
        replica: str,
    ) -> None:
        """Declare the view; `spawn` starts work in the background and tries it until it is done."""
        self._mirror = mirror
        self._ledger = ledger
        self._accounts = accounts
        self._presence = presence
        self._spawn = spawn
        self._replica = replica
        self._view = mirror.view("allotments/", Allotments)
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()
        self._demand = 0
        self._asked = 0
        # What the others' claims had given back when these were last asked, and when to ask again.
        self._heard = 0
        self._ask_time = 0.0
        # A lower share that is being written on this revision of the shares, or may have been.
        self._lowered: tuple[int, int] | None = None
        self._view.subscribe(self._shares_changed)

    @property
    def limited(self) -> bool:
        """Whether the fabric's account has a limit."""
        budget = self._ledger.budget(FABRIC)
        return budget is not None and budget.limit_micros is not None

    def covers(self, amount: int) -> bool:
        """Tell whether a claim here may reserve so much more of the fabric's money now."""
        if not self.limited:
            return True
        if not self._presence.shown(self._replica):
            return False
        return self._used + amount <= self._share + min(0, self._free(self._state))

    def may_cover(self, amount: int) -> bool:
        """Tell whether so much would be there if no claim being written here succeeded."""
        unsettled = self._accounts.unsettled(FABRIC)
        free = self._free(self._without_gone()[0])
        return 0 < unsettled >= self._used + amount - self._share - free

    def compares(self) -> list[Compare]:
        """Return what a claim compares that `covers` was asked for just now."""
        return [self._presence.same(self._replica)] if self.limited else []

    async def widen(self, amount: int) -> bool:
        """Get a share that covers so much more, if the limit does; tell whether it did.

        Raises STORE_UNAVAILABLE when this replica does not count as there, CONTENTION.
        """
        self._demand += amount
        asked = self._asked
        try:
            async with self._lock:
                # Whoever asked after this claim came has asked for it as well.
                return await self._widen(amount, may_ask=self._asked == asked)
        finally:
            self._demand -= amount

    def settle(self, paid: Mapping[str, int]) -> tuple[Sequence[Compare], Sequence[Write]]:
        """Return what takes paid money off the shares, for the write that counts it as spent."""
        entry = self._view.entry(FABRIC)
        if entry is None or not any(payer in entry.value.shares for payer in paid):
            return (), ()
        shares = {
            each: max(0, share - paid.get(each, 0)) for each, share in entry.value.shares.items()
        }
        lowered = entry.value.model_copy(update={"shares": shares})
        return [unchanged(entry.key, entry.mod_revision)], [self._view.put(FABRIC, lowered)]

    @property
    def _state(self) -> Allotments:
        return self._view.get(FABRIC) or Allotments()

    @property
    def _revision(self) -> int:
        entry = self._view.entry(FABRIC)
        return 0 if entry is None else entry.mod_revision

    @property
    def _used(self) -> int:
        return self._accounts.owed(self._replica) + self._accounts.pending_micros

    @property
    def _share(self) -> int:
        share = self._state.shares.get(self._replica, 0)
        if self._lowered is not None and self._lowered[0] == self._revision:
            return min(share, self._lowered[1])
        return share

    def _free(self, state: Allotments) -> int:
        """Return what of the limit is neither spent nor anybody's; below 0 after an overrun."""
        facts = self._accounts.facts(FABRIC)
        if facts.limit_micros is None:
            return 0
        accounts = self._accounts
        taken = 0
        for each in {*state.shares, *accounts.payers}:
            pending = accounts.pending_micros if each == self._replica else 0
            unrolled = accounts.unrolled(each)
            live = accounts.owed(each) - unrolled + pending
            taken += max(state.shares.get(each, 0) - unrolled, live)
        return facts.limit_micros - facts.spent_micros - taken

    async def _widen(self, amount: int, *, may_ask: bool) -> bool:
        for _ in range(_TRIES):
            await self._see_all()
            if self.covers(amount):
                return True
            state, gone = self._without_gone()
            least = self._used + amount - self._share
            grant = min(self._used + max(self._demand, amount) - self._share, self._free(state))
            if grant >= least:
                shares = state.shares | {self._replica: self._share + grant}
                await self._write(state.model_copy(update={"shares": shares}), gone)
            elif not may_ask or not self._promising(state):
                return False
            else:
                may_ask = False
                self._asked += 1
                await self._ask(state, gone)
        text = "the shares of the fabric's budget change too fast; try again"
        raise FabricError(Reason.CONTENTION, text, retry_after=0.1)

    def _promising(self, state: Allotments) -> bool:
        """Tell whether it is worth asking the others, which costs a write of each of them.

        Right after they were asked they have nothing more to give, unless claims of theirs have
        given something back since then.
        """
        if not self._others(state):
            return False
        again = asyncio.get_running_loop().time() >= self._ask_time
        return again or self._returned(state) != self._heard

    def _returned(self, state: Allotments) -> int:
        return sum(self._accounts.returned(each) for each in self._others(state))

    async def _ask(self, state: Allotments, gone: Sequence[Compare]) -> None:
        """Have the other replicas give back what they do not need, as far as they do at once."""
        # As it is now: they may have passed before they give more back.
        self._heard = self._returned(self._state)
        us = {self._replica}
        while not await self._write(
            state.model_copy(update={"wanted": state.wanted | us, "passed": state.passed | us}),
            gone,
        ):
            state, gone = self._without_gone()
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while self._others(self._state) - self._state.passed:
                    self._changed.clear()
                    await self._changed.wait()
        while self._replica in self._state.wanted:
            state, gone = self._without_gone()
            wanted = state.wanted - us
            passed = state.passed if wanted else frozenset()
            await self._write(state.model_copy(update={"wanted": wanted, "passed": passed}), gone)
        self._ask_time = asyncio.get_running_loop().time() + _PAUSE_SECONDS

    async def _give(self) -> None:
        """Give back what is not needed here, and say so."""
        async with self._lock:
            while self._is_asked():
                state, gone = self._without_gone()
                shares = dict(state.shares)
                if self._replica in shares:
                    shares[self._replica] = min(self._share, self._used)
                    self._lowered = (self._revision, shares[self._replica])
                passed = state.passed | {self._replica}
                await self._write(
                    state.model_copy(update={"shares": shares, "passed": passed}), gone
                )

    def _is_asked(self) -> bool:
        state = self._state
        return self._replica not in state.passed and any(
            each in self._presence for each in state.wanted - {self._replica}
        )

    def _shares_changed(self, _change: Change[Allotments]) -> None:
        self._changed.set()
        if self._is_asked():
            self._spawn("give_back_budget", self._give)

    def _others(self, state: Allotments) -> frozenset[str]:
        present = (each for each in state.shares if each in self._presence)
        return frozenset(present) - {self._replica}

    def _without_gone(self) -> tuple[Allotments, list[Compare]]:
        """Return the shares of the replicas that are there, and what compares that others are not.

        When a replica is seen to be gone, so are its last claims.
        """
        state = self._state
        gone = {each for each in state.shares if self._presence.left(each)}
        return Allotments(
            shares={each: share for each, share in state.shares.items() if each not in gone},
            wanted=_present(state.wanted, gone),
            passed=_present(state.passed, gone),
        ), [self._presence.same(each) for each in gone]

    async def _see_all(self) -> None:
        """Let the views hold all that they show of what the shares are decided on."""
        ledger = self._ledger
        entries = (ledger.budgets.entry(FABRIC), ledger.spending.entry(FABRIC))
        newest = max(self._revision, *(0 if e is None else e.mod_revision for e in entries))
        await self._mirror.caught_up(newest)
        if not self._presence.shown(self._replica):
            await self._mirror.catch_up()
        if not self._presence.shown(self._replica):
            text = "this server does not count as one of the fabric's at the moment; try again"
            raise FabricError(Reason.STORE_UNAVAILABLE, text, retry_after=1.0)

    async def _write(self, state: Allotments, gone: Sequence[Compare]) -> bool:
        ledger = self._ledger
        compares = [unchanged(self._view.key(FABRIC), self._revision), *gone]
        for view in (ledger.budgets, ledger.spending):
            entry = view.entry(FABRIC)
            compares.append(unchanged(view.key(FABRIC), 0 if entry is None else entry.mod_revision))
        compares.append(self._presence.same(self._replica))
        result = await self._mirror.commit(compares, [self._view.put(FABRIC, state)])
        if not result.succeeded:
            await self._mirror.caught_up(result.revision)
        return result.succeeded


def _present(names: Iterable[str], gone: set[str]) -> frozenset[str]:
    return frozenset(names) - gone
