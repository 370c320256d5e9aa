"""A connection to the fabric, for everything but sessions."""

from collections.abc import Iterable
from typing import Self

import grpc

from infrafabric import addresses
from infrafabric.breakers import Breakers
from infrafabric.budgets import Budgets
from infrafabric.calls import Caller, Calls
from infrafabric.channel import open_channel
from infrafabric.chassis import Chassis
from infrafabric.claims import Claims
from infrafabric.costs import Costs
from infrafabric.credentials import Credentials
from infrafabric.escalations import Escalations
from infrafabric.help import Help
from infrafabric.policy import Policy
from infrafabric.servers import Server, Servers
from infrafabric.standings import Standings
from infrafabric.statuses import Statuses
from infrafabric.swarms import Swarms
from infrafabric.tasks import Tasks
from infrafabric.witness import Witness


class Client:
    """Calls the fabric's services; each group of calls is an attribute.

    For example::

        async with Client("127.0.0.1:50051") as client:
            task = await client.tasks.create(Task(title="read this"))

    Args:
        target: the server, as `host:port`; of several, separated by commas or in a list, one is
            used at a time, and the next when it cannot be reached or is about to stop.
        calls: deadline, sleep, randomness and clock of the calls; None for the usual ones.
        channel: a channel to use instead of plaintext to the target; closed with the client.

    Attributes:
        tasks: create, read, watch, call off and offer tasks.
        claims: claims outside a session, and blockers.
        swarms: register and read swarms, and find the right one.
        statuses: report, read and watch statuses; broadcast a text.
        budgets: charge costs, limit accounts and read how they stand.
        costs: what was spent on what.
        standings: how swarms keep their service levels, and what they are worth.
        breakers: open, close and read circuit breakers.
        chassis: run foreign code in a box.
        credentials: let the holder of a claim reach endpoints, while the claim lives.
        help: ask idle swarms for help with a blocker, and accept to help.
        escalations: read, watch and acknowledge what wants a person.
        policy: read the policy in force, and check another.
        witness: read the log of decisions.
    """

    def __init__(
        self,
        target: str | Iterable[str],
        *,
        calls: Calls | None = None,
        channel: grpc.aio.Channel | None = None,
    ) -> None:
        how = calls or Calls()
        channels = [channel] if channel else [open_channel(at) for at in addresses.split(target)]
        first = addresses.beginning(len(channels), how.random)
        self._servers = Servers([Server(each) for each in channels], first)
        caller = Caller(self._servers, how)
        self.tasks = Tasks(caller)
        self.claims = Claims(caller)
        self.swarms = Swarms(caller)
        self.statuses = Statuses(caller)
        self.budgets = Budgets(caller)
        self.costs = Costs(caller)
        self.standings = Standings(caller)
        self.breakers = Breakers(caller)
        self.chassis = Chassis(caller)
        self.credentials = Credentials(caller)
        self.help = Help(caller)
        self.escalations = Escalations(caller)
        self.policy = Policy(caller)
        self.witness = Witness(caller)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls under way are cancelled."""
        await self._servers.close()
