"""Those who call tasks off, place them by hand, read them, and speak for claims of the past."""

from infrafabric import Client, FabricError
from infrafabric.v1.notify_service_pb2 import NotifyRequest
from infrafabric.v1.status_pb2 import Status
from tests.robustness.traffic.actor import Stepper, World
from tests.robustness.traffic.callers import shown


class Meddler(Stepper):
    """Does one thing after another to the tasks of others."""

    async def step(self) -> None:
        """Do one thing."""
        ways = {"read": 12}
        if not self.world.closing.is_set():
            ways |= {"cancel": 1, "push": 2, "assign": 2, "broadcast": 2, "stale": 6}
        way = self.chance.choices(list(ways), list(ways.values()))[0]
        known = sorted(self.world.open)
        if way == "stale":
            await self._stale()
        elif known:
            await self._place(way, self.chance.choice(known))
        await self.pause(0.01, 0.1)

    async def _place(self, way: str, task_id: str) -> None:
        match way:
            case "cancel":
                reason = f"cancelled-{self.recorder.tag()}"
                await self.insist(
                    "cancel",
                    lambda client: client.tasks.cancel(task_id, reason),
                    tag=reason,
                    task_id=task_id,
                )
            case "push":
                swarm_id = self.chance.choice(["worker-0", "worker-1", "raw-0", "caller-0"])
                await self.ask(
                    "push",
                    lambda client: client.tasks.push(swarm_id, task_id),
                    swarm_id=swarm_id,
                    task_id=task_id,
                )
            case "assign":
                await self.ask(
                    "assign", lambda client: client.tasks.assign(task_id), task_id=task_id
                )
            case "broadcast":
                await self.ask(
                    "offer", lambda client: client.tasks.broadcast(task_id), task_id=task_id
                )
            case _:
                await self.ask(
                    "get",
                    lambda client: client.tasks.get(task_id),
                    answer=shown,
                    task_id=task_id,
                )

    async def _stale(self) -> None:
        """Speak for a claim that somebody had at some time, in any of the ways."""
        if not self.world.claimed:
            return
        task_id, attempt, swarm_id = self.chance.choice(self.world.claimed[-200:])
        current = await self.ask(
            "get", lambda client: client.tasks.get(task_id), answer=shown, task_id=task_id
        )
        if isinstance(current, FabricError) or current.attempt == attempt:
            # The holder of the present claim is left alone.
            return
        tag = self.price()
        kind = self.chance.choice(("complete", "fail", "release", "progress", "block"))
        text = f"stale-{tag}"
        await self.ask(
            kind,
            lambda client: _speak(client, kind, (swarm_id, task_id, attempt), text, tag),
            tag=tag if kind == "complete" else text,
            swarm_id=swarm_id,
            task_id=task_id,
            attempt=attempt,
        )


async def _speak(
    client: Client, kind: str, claim: tuple[str, str, int], text: str, cost: int
) -> object:
    claims = client.claims
    match kind:
        case "complete":
            return await claims.complete(*claim, {"cost": cost}, cost_micros=cost)
        case "fail":
            return await claims.fail(*claim, text)
        case "release":
            return await claims.release(*claim, text)
        case "progress":
            return await claims.progress(*claim, 75, note=text)
        case _:
            swarm_id, task_id, attempt = claim
            return await claims.report_blocker(swarm_id, text, task_id=task_id, attempt=attempt)


class Announcer(Stepper):
    """Sends texts to everyone, and some of them again."""

    async def step(self) -> None:
        """Send one text."""
        if self.world.closing.is_set():
            await self.world.over.wait()
            return
        text = f"text-{self.recorder.tag()}"
        for _ in range(self.chance.choice((1, 1, 2))):
            await self.insist(
                "broadcast",
                lambda client: client.statuses.broadcast(text, request_id=text),
                tag=text,
            )
        await self.pause(0.1, 0.5)


class Reporter(Stepper):
    """A swarm that only reports its status, and what it has spent altogether."""

    def __init__(self, name: str, world: World) -> None:
        super().__init__(name, world)
        self._spent = 0

    async def step(self) -> None:
        """Report once."""
        if self.world.closing.is_set():
            await self.world.over.wait()
            return
        text = f"report-{self.recorder.tag()}"
        # 1 to 5 are the statuses; a blocked one and a call for help keep their text.
        status = self.chance.choice((1, 2, 3, 5, 5))
        self._spent += self.chance.choice((0, 0, 10))
        report = NotifyRequest(
            swarm_id=self.name,
            status=Status.ValueType(status),
            message=text,
            cost_spent_micros=self._spent,
        )
        await self.ask(
            "status",
            lambda client: client.statuses.notify(report),
            tag=text if status in (3, 5) else "",
            swarm_id=self.name,
            status=status,
        )
        await self.pause(0.05, 0.3)
