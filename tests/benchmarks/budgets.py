"""What a limit costs a claim: claims of swarms with a limit and without one, in turn."""

from collections.abc import Iterator
from functools import partial
from statistics import median

from infrafabric.v1.governor_budget_pb2 import SetBudgetRequest
from infrafabric.v1.governor_service_pb2_grpc import GovernorServiceStub
from tests.benchmarks.measuring import Latency, alternate, cpu_seconds
from tests.benchmarks.run import Run

# More than all claims of a run reserve, a US dollar each.
_LIMIT = 10**12
# Claims in a turn, whose CPU is measured together: its clock ticks a hundred times a second.
_TURN = 250


async def budgets(run: Run) -> None:
    """Compare times by turns of one claim, and CPU by turns of many."""
    governor = GovernorServiceStub(run.channel)
    rounds = run.times(1000)
    names = await run.bench.swarms(rounds // 60 + 2)
    limited = await run.bench.swarms(len(names))
    for swarm_id in limited:
        await governor.SetBudget(SetBudgetRequest(swarm_id=swarm_id, limit_micros=_LIMIT))
    free = partial(_claim, run, names, iter(await run.bench.manual_tasks(rounds)))
    bound = partial(_claim, run, limited, iter(await run.bench.manual_tasks(rounds)))
    await run.settled()
    seconds = await alternate(rounds, free, bound)
    without, with_limit = Latency.of(seconds[0]), Latency.of(seconds[1])
    cpu = await _cpu(run, governor)
    run.report.heading("claims, with a limit and without")
    run.report.figure("claim without a limit", without)
    run.report.figure("claim with a limit", with_limit)
    run.report.figure("server CPU per claim without", f"{cpu[0] * 1e6:.0f} µs")
    run.report.figure("server CPU per claim with", f"{cpu[1] * 1e6:.0f} µs")
    run.report.aim("claim p50 with / without a limit", with_limit.p50 / without.p50, 1.1)
    run.report.aim("CPU of a claim with / without a limit", cpu[1] / cpu[0], 1.1)


async def _claim(run: Run, swarms: list[str], tasks: Iterator[str]) -> None:
    task_id = next(tasks)
    # Claims of a swarm take turns, so that none runs out of its 64 slots.
    swarms.append(swarms.pop(0))
    await run.bench.claim(swarms[-1], task_id)


async def _cpu(run: Run, governor: GovernorServiceStub) -> list[float]:
    """Return the server's CPU seconds per claim, without a limit and with one."""
    used: tuple[list[float], list[float]] = ([], [])
    for turn in range(2 * max(2, run.times(24) // 4)):
        # In turn, and each kind as often before the other one as after it.
        kind = turn % 2 ^ turn // 2 % 2
        swarms = await run.bench.swarms(_TURN // 60 + 1)
        for swarm_id in swarms if kind else []:
            await governor.SetBudget(SetBudgetRequest(swarm_id=swarm_id, limit_micros=_LIMIT))
        tasks = iter(await run.bench.manual_tasks(_TURN))
        await run.settled()
        before = cpu_seconds(run.server.pid)
        for _ in range(_TURN):
            await _claim(run, swarms, tasks)
        used[kind].append((cpu_seconds(run.server.pid) - before) / _TURN)
    return [median(each) for each in used]
