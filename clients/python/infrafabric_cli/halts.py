"""What keeps work from swarms at present: the hold of the fabric, open breakers, paused pools."""

from collections.abc import Iterable
from datetime import datetime

from infrafabric import Client
from infrafabric.errors import FabricError
from infrafabric.v1.breaker_pb2 import BREAKER_STATE_OPEN, CircuitBreaker, CredentialPool
from infrafabric_cli.names import age, moment
from infrafabric_cli.output import complain

# Swarms of a paused pool that a line names; `breaker list --json` has up to 100.
_NAMED = 4


class Halts:
    """What keeps work from swarms, as it was read.

    Attributes:
        breakers: those that are open, by swarm; under "" the hold of the whole fabric.
        pools: credential pools that are paused.
        more: whether more breakers are open than were read.
    """

    def __init__(
        self,
        breakers: Iterable[CircuitBreaker] = (),
        pools: Iterable[CredentialPool] = (),
        *,
        more: bool = False,
    ) -> None:
        self.breakers = {each.swarm_id: each for each in breakers}
        self.pools = tuple(pools)
        self.more = more
        self._kept = frozenset(self.breakers).union(*(pool.swarm_ids for pool in self.pools))

    def keep_from(self, swarm_id: str) -> bool:
        """Return whether a swarm is given no work."""
        return "" in self._kept or swarm_id in self._kept

    def of_fabric(self, now: datetime) -> list[str]:
        """Return the hold as a line for people; no line when there is none."""
        hold = self.breakers.get("")
        if hold is None:
            return []
        return [f"on hold: all swarms for {age(hold.open_time, now)}: {hold.detail}"]

    def of_swarms(self, now: datetime) -> list[str]:
        """Return the open breakers and the paused pools as lines for people."""
        lines = [
            f"breaker open: {swarm_id} for {age(breaker.open_time, now)}: {breaker.detail}"
            for swarm_id, breaker in self.breakers.items()
            if swarm_id
        ]
        lines += map(_paused, self.pools)
        if self.more:
            lines.append("more breakers are open: infrafabric breaker list --open")
        return lines


async def read_halts(client: Client, *, whole: bool = True) -> Halts:
    """Return what keeps work from swarms now.

    Args:
        client: of the fabric.
        whole: whether all breakers are read; else at most 1,000, in one call.

    Raises:
        FabricError: it does not answer.
    """
    breakers: list[CircuitBreaker] = []
    pools: list[CredentialPool] = []
    async for page in client.breakers.pages(BREAKER_STATE_OPEN):
        breakers += page.breakers
        pools += page.pools
        if not whole:
            return Halts(breakers, pools, more=bool(page.next_page_token))
    return Halts(breakers, pools)


async def tell_halts(client: Client, swarm_id: str, *, exhausted: bool = False) -> None:
    """Say on standard error what keeps work from a swarm after something was done.

    What was done stays done: when the fabric does not answer this, nothing is said.

    Args:
        client: of the fabric.
        swarm_id: the swarm.
        exhausted: whether its budget is spent, for which its breaker opens in a moment.
    """
    try:
        halts = await read_halts(client)
    except FabricError:
        return
    breaker = halts.breakers.get(swarm_id)
    if breaker is not None or exhausted:
        opens = f"is open ({breaker.detail})" if breaker else "opens, as its budget is spent"
        limit = " --new-budget USD" if exhausted else ""
        complain(
            f"{swarm_id}: its circuit breaker {opens}; to close it:"
            f" infrafabric breaker reset {swarm_id} --approver NAME --reason TEXT{limit}"
        )
    for pool in halts.pools:
        if swarm_id in pool.swarm_ids:
            complain(_paused(pool))


def _paused(pool: CredentialPool) -> str:
    more = ", ..." if len(pool.swarm_ids) > _NAMED else ""
    whose = f"{', '.join(pool.swarm_ids[:_NAMED])}{more}"
    until = moment(pool.paused_until_time)
    return f"paused: pool {pool.pool_id} ({whose}) until {until}: {pool.reason}"
