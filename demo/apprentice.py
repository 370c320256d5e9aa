"""An agent that fails in everything, until a person has had a word with it.

It takes the tasks of the trial one after the other, by claims outside a session, and ends when one
is refused. Started again, it goes on where it was, and does what it claims.
"""

from demo.journal import Journal
from demo.member import Member, run
from demo.plan import TRIAL_FILE, Board
from infrafabric import Client
from infrafabric.money import MICROS_PER_USD
from infrafabric.v1.task_pb2 import ClaimRefusal, Task

WASTED_MICROS = MICROS_PER_USD
"""What it spends on a task in which it fails."""

EARNED_MICROS = 2 * MICROS_PER_USD
"""What it spends on a task that it completes."""


async def main(member: Member, journal: Journal) -> None:
    """Take tasks until a claim is refused."""
    ended = {
        each["task_id"] for each in journal.earlier if each["event"] in ("failed", "completed")
    }
    async with Client(member.server) as client:
        if not journal.earlier:
            await client.swarms.register(member.swarm_id, ["archive"])
        for planned in Board.read(TRIAL_FILE).tasks:
            if planned.id in ended:
                continue
            answer = await client.claims.claim(member.swarm_id, planned.id)
            task = answer.task
            if not answer.claimed:
                journal.write(
                    "turned_away",
                    planned.id,
                    refusal=ClaimRefusal.Name(answer.refusal),
                    detail=answer.refusal_detail,
                    max_cost_micros=task.max_cost_micros,
                )
                return
            journal.write("received", task.task_id, task.attempt)
            await member.work(planned.hours)
            if journal.earlier:
                await _complete(client, member, journal, task)
            else:
                await _fail(client, member, journal, task)


async def _fail(client: Client, member: Member, journal: Journal, task: Task) -> None:
    who, name, attempt = member.swarm_id, task.task_id, task.attempt
    await client.budgets.track(
        who,
        "llm.completion",
        WASTED_MICROS,
        task_id=name,
        attempt=attempt,
        request_id=f"{name}-{attempt}",
    )
    await client.claims.fail(who, name, attempt, "it came to nothing")
    journal.write("failed", name, attempt, cost_micros=WASTED_MICROS)


async def _complete(client: Client, member: Member, journal: Journal, task: Task) -> None:
    await client.claims.complete(
        member.swarm_id, task.task_id, task.attempt, cost_micros=EARNED_MICROS
    )
    journal.write("completed", task.task_id, task.attempt, cost_micros=EARNED_MICROS)


if __name__ == "__main__":
    run(main)
