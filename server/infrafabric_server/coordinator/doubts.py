"""Reservations of which nobody knows whether their claim was written."""

from functools import partial

from infrafabric_server.coordinator.background import Background
from infrafabric_server.coordinator.timers import Timers
from infrafabric_server.governor.budget.accounts import Accounts, Pending
from infrafabric_server.store.mirror import Mirror

# How long a transaction may be on its way after its answer got lost. A store gives up long before.
_SECONDS = 30.0


class Doubts:
    """Ends a doubtful reservation when its claim can be written no more.

    It ends by itself when its task changes. If that does not change, no claim was written; a
    while later none will be.
    """

    def __init__(
        self, mirror: Mirror, accounts: Accounts, timers: Timers, background: Background
    ) -> None:
        self._mirror = mirror
        self._accounts = accounts
        self._timers = timers
        self._background = background

    def note(self, pending: Pending) -> None:
        """Look after a reservation that has become doubtful."""
        if not pending.over:
            self._timers.set(_name(pending), _SECONDS, lambda: self._look(pending))

    def _look(self, pending: Pending) -> None:
        if not pending.over:
            self._background.spawn(_name(pending), partial(self._end, pending))

    async def _end(self, pending: Pending) -> None:
        await self._mirror.catch_up()
        self._accounts.settle(pending)


def _name(pending: Pending) -> str:
    return f"doubt:{pending.task_id}:{id(pending)}"
