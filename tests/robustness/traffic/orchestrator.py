"""Whoever resolves blockers."""

import asyncio
from contextlib import suppress

from infrafabric import FabricError, Session
from infrafabric.session.session import SessionOptions
from infrafabric.v1.session_client_pb2 import SESSION_ROLE_ORCHESTRATOR
from tests.robustness.traffic.actor import Stepper


class Orchestrator(Stepper):
    """Hears of incidents and resolves them after a while; at the end all that are open."""

    async def run(self) -> None:
        """Be at work until the run is over."""
        async with asyncio.TaskGroup() as group:
            hearing = group.create_task(self._hear(group))
            await super().run()
            hearing.cancel()

    async def step(self) -> None:
        """Look for incidents that nobody told of."""
        if not self.world.closing.is_set():
            await self.pause(0.2, 0.5)
            return
        client = await self.client()
        try:
            open_blockers = [
                (blocker.swarm_id, blocker.task_id)
                async for page in client.statuses.pages()
                for blocker in page.blockers
            ]
        except FabricError:
            await self.move()
            open_blockers = []
        for swarm_id, task_id in open_blockers:
            await self._resolve(swarm_id, task_id)
        await self.pause(0.1, 0.3)

    async def _hear(self, group: asyncio.TaskGroup) -> None:
        options = SessionOptions(channel=self.channel)
        with suppress(FabricError):
            async with Session(
                "unused", swarm_id=self.name, role=SESSION_ROLE_ORCHESTRATOR, options=options
            ) as session:
                async for blocker in session.alerts():
                    self.recorder.see(
                        self.name, "alert", swarm_id=blocker.swarm_id, task_id=blocker.task_id
                    )
                    if not blocker.HasField("resolve_time"):
                        group.create_task(self._later(blocker.swarm_id, blocker.task_id))

    async def _later(self, swarm_id: str, task_id: str) -> None:
        await self.pause(0.0, 2.0)
        await self._resolve(swarm_id, task_id)

    async def _resolve(self, swarm_id: str, task_id: str) -> None:
        text = f"resolved-{self.recorder.tag()}"
        await self.ask(
            "resolve",
            lambda client: client.claims.resolve_blocker(
                swarm_id, task_id=task_id, resolution=text
            ),
            tag=text,
            swarm_id=swarm_id,
            task_id=task_id,
        )
