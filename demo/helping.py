"""What a session does for others: it takes each offer to help, does its part and is paid for it.

The help is simulated, as all work is: it only takes its time.
"""

import asyncio

from demo.journal import Journal
from demo.member import Member
from demo.plan import SessionPlan
from infrafabric import Client, Session
from infrafabric.money import MICROS_PER_USD
from infrafabric.v1.help_pb2 import HelpRequest

HELP_HOURS = 0.5
"""How long one helper takes for its part."""


class Helping:
    """One session as a helper.

    Args:
        member: who it is and where.
        plan: what an hour of it costs.
        session: where offers come in and costs go out.
        hands: what it works with, one thing at a time.
        journal: where it writes down what it gave.
    """

    def __init__(
        self,
        member: Member,
        plan: SessionPlan,
        session: Session,
        hands: asyncio.Lock,
        journal: Journal,
    ) -> None:
        self._member = member
        self._plan = plan
        self._session = session
        self._hands = hands
        self._journal = journal
        self._answered: set[str] = set()

    async def run(self) -> None:
        """Help whoever asks, until the session ends."""
        async with Client(self._member.server) as client, asyncio.TaskGroup() as tasks:
            async for wanted in self._session.help_wanted():
                # After a cut it is asked once more.
                if self._plan.id in wanted.asked_swarm_ids and wanted.help_id not in self._answered:
                    self._answered.add(wanted.help_id)
                    tasks.create_task(self._help(client, wanted))

    async def _help(self, client: Client, wanted: HelpRequest) -> None:
        about = (wanted.task_id, wanted.attempt)
        answer = await client.help.accept(self._plan.id, wanted.help_id)
        if not answer.accepted:
            self._journal.write("help_refused", *about, detail=answer.refusal_detail)
            return
        self._journal.write("helps", *about, help_id=wanted.help_id)
        async with self._hands:
            await self._member.work(HELP_HOURS)
        cost = round(HELP_HOURS * self._plan.cost_per_hour * MICROS_PER_USD)
        await self._session.cost("help", cost, help_id=wanted.help_id)
        self._journal.write("helped", *about, help_id=wanted.help_id, cost_micros=cost)
