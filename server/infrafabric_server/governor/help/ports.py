"""Help with tasks: what the governor asks of whoever keeps the tasks."""

from typing import Protocol

from infrafabric_server.governor.help.models import Acceptance, HelpRequest, HelpState, Wanted
from infrafabric_server.governor.listing import Part


class IFHelp(Protocol):
    """Has idle swarms gang up on what blocks another one."""

    async def request(self, wanted: Wanted) -> HelpRequest:
        """Ask for help with a claim, or change what is asked for; the task is parked.

        A repeat of the last call by its request id changes nothing.

        Raises:
            FabricError: SWARM_NOT_FOUND, TASK_NOT_FOUND, STALE_ATTEMPT, NOT_OWNER,
                TASK_NOT_CLAIMED, TASK_ENDED, LIMIT_REACHED, CONTENTION.
            InvalidField: the budget is more than what is left of the reservation.
        """
        ...

    async def accept(self, help_id: str, swarm_id: str) -> Acceptance:
        """Join the helpers of a request, if it is live and has a place; a repeat changes nothing.

        Raises:
            FabricError: HELP_NOT_FOUND, SWARM_NOT_FOUND, CONTENTION.
            InvalidField: the swarm is the one that asks.
        """
        ...

    async def page(self, after: str, limit: int, state: HelpState | None) -> Part[HelpRequest]:
        """Return at most `limit` requests by id, which is by age, from the first after `after` on.

        A `state` of None is every state.
        """
        ...
