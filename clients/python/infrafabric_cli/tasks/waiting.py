"""Why a task waits that the fabric itself gives to a swarm, for people."""

from datetime import UTC, datetime

from infrafabric import Client
from infrafabric.errors import SwarmNotFound
from infrafabric.money import format_usd
from infrafabric.v1.match_pb2 import Exclusion
from infrafabric.v1.task_pb2 import DISPATCH_AUTO, TASK_STATE_AVAILABLE, Task
from infrafabric_cli.halts import read_halts
from infrafabric_cli.match import by_rule

_HOUR_MICROSECONDS = 3_600 * 10**6
# No swarm costs more an hour, and no more can be asked for.
_DEAREST_MICROS = 10**12
# So many swarms are named.
_NAMED = 3


async def waits_because(client: Client, task: Task) -> str:
    """Return what keeps an available task from being assigned; empty for any other task.

    Args:
        client: asks the fabric which swarms it would leave out now.
        task: as it is now. What waits for a dependency, for a time or for the swarm that it is
            offered to shows that itself.
    """
    if task.state != TASK_STATE_AVAILABLE or task.dispatch != DISPATCH_AUTO:
        return ""
    if task.offered_swarm_id or task.available_time.ToDatetime(UTC) > datetime.now(UTC):
        return ""
    hold = (await read_halts(client, whole=False)).breakers.get("")
    if hold is not None:
        return f"the fabric is on hold: {hold.detail}"
    account = await client.budgets.of_task(task.task_id)
    if account.HasField("available_micros") and account.available_micros < max(
        1, task.max_cost_micros
    ):
        left = format_usd(account.available_micros)
        return f"its own budget has {left} USD left, which does not cover an attempt"
    if task.chassis_swarm_id:
        return await _in_chassis(client, task)
    return await _among_swarms(client, task)


async def _among_swarms(client: Client, task: Task) -> str:
    found = await client.swarms.find_qualified(
        task.required_capabilities,
        max_cost_per_hour_micros=_hourly_cap(task),
        max_task_cost_micros=_max_cost(task),
        explain=True,
        page_size=1,
    )
    fitting = [each.swarm_id for each in found.candidates]
    left_out = by_rule(found.exclusion_counts)
    if not fitting and not left_out:
        return "no swarm is registered"
    why = "no swarm fits"
    if fitting:
        others = " and others" if len(fitting) > _NAMED else ""
        why = f"no session takes it now of who fits ({', '.join(fitting[:_NAMED])}{others})"
    return f"{why}: left out {left_out}" if left_out else why


async def _in_chassis(client: Client, task: Task) -> str:
    swarm_id = task.chassis_swarm_id
    if swarm_id not in [each.swarm_id async for each in client.chassis.list()]:
        return f"{swarm_id} has no module: infrafabric chassis load gives it one"
    try:
        capabilities = (await client.swarms.get(swarm_id)).capabilities
    except SwarmNotFound as error:
        return error.message
    left_out = await _exclusion(client, task, list(capabilities))
    if left_out is not None:
        return f"{swarm_id}: {left_out.detail}"
    return f"no chassis has begun it yet; {swarm_id} may do it"


async def _exclusion(client: Client, task: Task, capabilities: list[str]) -> Exclusion | None:
    """Return why the task's own swarm, which has these capabilities, is left out now."""
    page_token = ""
    while True:
        found = await client.swarms.find_qualified(
            capabilities,
            max_task_cost_micros=_max_cost(task),
            explain=True,
            page_size=1_000,
            page_token=page_token,
        )
        for each in found.excluded:
            if each.swarm_id == task.chassis_swarm_id:
                return each
        page_token = found.next_page_token
        if not page_token:
            return None


def _max_cost(task: Task) -> int | None:
    return task.max_cost_micros if task.HasField("max_cost_micros") else None


def _hourly_cap(task: Task) -> int | None:
    """Return what an hour may cost so that the expected time costs no more than the task may."""
    duration = task.estimated_duration.ToMicroseconds()
    if not duration or not task.HasField("max_cost_micros"):
        return None
    return min(task.max_cost_micros * _HOUR_MICROSECONDS // duration, _DEAREST_MICROS)
