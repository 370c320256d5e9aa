"""A session that breaks the rules, for PLANT=double-claim.

It is refused a claim that another session holds, and works on the task all the same.
"""

from demo.journal import Journal
from demo.member import Member, run
from infrafabric import Client
from infrafabric.v1.task_pb2 import TASK_STATE_CLAIMED


async def main(member: Member, journal: Journal) -> None:
    """Wait for a task that somebody holds, claim it, and ignore the answer."""
    async with Client(member.server) as client:
        await client.swarms.register(member.swarm_id, ())
        held = await _held_task(client)
        answer = await client.claims.claim(member.swarm_id, held)
        journal.write("received", answer.task.task_id, answer.task.attempt)


async def _held_task(client: Client) -> str:
    async for event in client.tasks.watch():
        task = event.changed if event.HasField("changed") else event.snapshot
        if task.state == TASK_STATE_CLAIMED:
            return task.task_id
    raise AssertionError("a watch has no end")


if __name__ == "__main__":
    run(main)
