"""Every client library passes the same scenario, whatever frame its stream is cut at.

On the distributed set-up there are two servers, and every stream goes to the other one than the
stream before it: what a session does is seen from, and goes on at, a server that it never spoke to.
"""

import asyncio
import traceback
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import product

import pytest

from infrafabric import Client
from tests.harness.cluster import Cluster
from tests.harness.server import ServerProcess
from tests.harness.setups import Setup
from tests.integration.conformance.proxy import Cut, FrameProxy, Side, When
from tests.integration.conformance.scenario import EXPECTED, Outcome, Scenario
from tests.integration.conformance.subject import PROGRAMS, Subject
from tests.integration.fire.evidence import verify

CUTS = [None, *(Cut(s, kind, when) for s in Side for kind, when in product(s.kinds, When))]
# Short enough for heartbeats within the scenario, long enough for a restart.
LEASE_SECONDS = "4"
# For what comes before the restart, and for what comes after it.
LIMIT_SECONDS = 60.0

# Which library, and where its stream was cut; None: nowhere.
Run = tuple[str, Cut | None]


class Meeting:
    """A point that all runs reach, or leave by failing, before it is done with once."""

    def __init__(self, servers: Sequence[ServerProcess], runs: int) -> None:
        self._servers = servers
        self._missing = runs
        self._all = asyncio.Event()
        self._over = asyncio.Event()

    def leave(self) -> None:
        """Count a run that has come, or will not come."""
        self._missing -= 1
        if not self._missing:
            self._all.set()

    async def restart(self) -> None:
        """Drain each server once all runs have come, and start it again."""
        await self._all.wait()
        for server in self._servers:
            await server.restart()
        self._over.set()

    async def over(self) -> None:
        """Wait for the restart."""
        self.leave()
        await self._over.wait()


async def one(scenario: Scenario, meeting: Meeting) -> Outcome | str:
    """Run the scenario once; return its outcome, or why it has none."""
    came = False

    async def restart() -> None:
        nonlocal came
        came = True
        # A run that is stuck holds up the others, which is not their fault.
        limit.reschedule(None)
        await meeting.over()
        limit.reschedule(asyncio.get_running_loop().time() + LIMIT_SECONDS)

    try:
        async with asyncio.timeout(LIMIT_SECONDS) as limit:
            return await scenario.run(restart)
    except Exception:  # noqa: BLE001  # the outcome of this run alone
        return traceback.format_exc()
    finally:
        if not came:
            meeting.leave()


async def run_all(servers: Sequence[ServerProcess]) -> dict[Run, Outcome | str]:
    """Run one library after the other, and each with every cut side by side."""
    outcomes: dict[Run, Outcome | str] = {}
    async with AsyncExitStack() as stack:
        for server in servers:
            await stack.enter_async_context(server)
        addresses = [server.grpc for server in servers]
        proxy = await stack.enter_async_context(FrameProxy(addresses))
        client = await stack.enter_async_context(Client(addresses))
        for library in PROGRAMS:
            subject = await stack.enter_async_context(Subject(library))
            scenarios = [
                Scenario(
                    f"{library}-{cut or 'uncut'}",
                    subject,
                    proxy.address,
                    client,
                    tuple(addresses),
                    cut,
                )
                for cut in CUTS
            ]
            for scenario in scenarios:
                proxy.courses.update(scenario.courses)
            meeting = Meeting(servers, len(scenarios))
            async with asyncio.TaskGroup() as group:
                runs = [group.create_task(one(scenario, meeting)) for scenario in scenarios]
                group.create_task(meeting.restart())
            for cut, run in zip(CUTS, runs, strict=True):
                outcomes[library, cut] = run.result()
        for address in addresses:
            await verify("--server", address)
    return outcomes


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, setup: Setup, tmp_path_factory: pytest.TempPathFactory
) -> dict[Run, Outcome | str]:
    """What came of every run."""
    folder = tmp_path_factory.mktemp("conformance")
    environment = {"INFRAFABRIC_LEASE_SECONDS": LEASE_SECONDS}
    servers = [ServerProcess(folder, environment=environment)]
    if setup is Setup.DISTRIBUTED:
        backing = request.getfixturevalue("backing")
        two = Cluster(
            folder, replicas=2, backing=backing, prefix="conformance", environment=environment
        )
        servers = two.replicas
    return asyncio.run(run_all(servers))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: str(cut or "uncut"))
@pytest.mark.parametrize("library", PROGRAMS)
def test_u2_same_outcome_wherever_the_stream_is_cut(
    outcomes: dict[Run, Outcome | str], library: str, cut: Cut | None
) -> None:
    assert outcomes[library, cut] == EXPECTED
