"""The orchestrator: is alerted to blockers, and resolves those that it can after a while."""

import os
from contextlib import AsyncExitStack

from demo.journal import Journal
from demo.member import Member, run
from demo.plan import FLEET_FILE, Does, Fleet
from infrafabric import Client, Session
from infrafabric.errors import BlockerNotFound, StoreUnavailable, Unreachable
from infrafabric.v1.blocker_pb2 import Blocker
from infrafabric.v1.session_client_pb2 import SESSION_ROLE_ORCHESTRATOR

# Hours of simulated work that an answer takes.
ANSWER_HOURS = 1.0


async def main(member: Member, journal: Journal) -> None:
    """Answer alerts, one after the other, until the session ends."""
    helped = Fleet.read(FLEET_FILE).whose(Does.HELPED).story
    assert helped is not None
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(member.server))
        session = await stack.enter_async_context(
            Session(member.server, swarm_id=member.swarm_id, role=SESSION_ROLE_ORCHESTRATOR)
        )
        await session.opened()
        journal.write("opened", pid=os.getpid())
        answered = set()
        async for blocker in session.alerts():
            # After a cut it is told of all open blockers again.
            if blocker.HasField("resolve_time") or blocker.blocker_id in answered:
                continue
            answered.add(blocker.blocker_id)
            about = (blocker.task_id, blocker.attempt)
            journal.write("alerted", *about, blocked=blocker.swarm_id, why=blocker.description)
            # There the helpers have the answer.
            if blocker.task_id == helped.task:
                continue
            await member.work(ANSWER_HOURS)
            await _resolve(client, blocker)
            journal.write("resolved", *about, blocked=blocker.swarm_id)


async def _resolve(client: Client, blocker: Blocker) -> None:
    """Resolve a blocker; said to a server that is being killed, it is said again to the next."""
    perhaps = False
    while True:
        try:
            await client.claims.resolve_blocker(
                blocker.swarm_id, task_id=blocker.task_id, resolution="here is what was missing"
            )
        except (Unreachable, StoreUnavailable):
            perhaps = True
        except BlockerNotFound:
            if not perhaps:
                raise
            return
        else:
            return


if __name__ == "__main__":
    run(main)
