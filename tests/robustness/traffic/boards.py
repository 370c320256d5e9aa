"""Those who create boards, and repeat themselves."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration

from infrafabric import FabricError
from infrafabric.v1.task_pb2 import (
    DISPATCH_AUTO,
    DISPATCH_BROADCAST,
    DISPATCH_MANUAL,
    RetryPolicy,
    Task,
)
from tests.robustness.traffic.actor import Stepper

# Tasks that wait or are worked on; more would only queue.
_ENOUGH = 60
_BOARD = 12
CAPABILITIES = ("a", "b")
# What a task may cost; a completion costs more than the least of them.
_MOST = (100_000, 200_000, 200_000, 400_000, 800_000)


class BoardMaker(Stepper):
    """Creates boards whose tasks wait for one another, under request ids that it repeats."""

    async def step(self) -> None:
        """Create one board."""
        if self.world.closing.is_set():
            await self.world.over.wait()
            return
        if len(self.world.open) > _ENOUGH:
            await self.pause(0.05, 0.2)
            return
        tag = f"{self.name}-{self.recorder.tag()}"
        board = self._board(tag, self.chance.randint(1, _BOARD))
        result = await self._create(tag, board)
        if not isinstance(result, FabricError) and self.chance.random() < 0.2:
            await self._create(tag, board)
        if self.chance.random() < 0.05:
            other = self._board(f"{tag}-other", 1)
            await self.ask(
                "create-reused",
                lambda client: client.tasks.create_all(other, request_id=tag),
                tag=tag,
            )
        await self.pause(0.0, 0.1)

    async def _create(self, tag: str, board: list[Task]) -> object:
        return await self.insist(
            "create",
            lambda client: client.tasks.create_all(board, request_id=tag),
            tag=tag,
            answer=lambda tasks: {"task_ids": [task.task_id for task in tasks]},
            tasks=[
                {"task_id": task.task_id, "dependencies": list(task.dependencies)} for task in board
            ],
        )

    def _board(self, tag: str, size: int) -> list[Task]:
        if size == 1 and self.chance.random() < 0.3:
            # The server chooses the id: the same one for each repeat.
            return [self._task("", [])]
        board: list[Task] = []
        for place in range(size):
            earlier = [task.task_id for task in board]
            count = min(len(earlier), self.chance.choice((0, 0, 1, 1, 2, 3)))
            board.append(self._task(f"{tag}-{place}", self.chance.sample(earlier, count)))
        self.chance.shuffle(board)
        return board

    def _task(self, task_id: str, dependencies: list[str]) -> Task:
        dispatch = self.chance.choices(
            [DISPATCH_AUTO, DISPATCH_BROADCAST, DISPATCH_MANUAL], [6, 2, 3]
        )[0]
        task = Task(
            task_id=task_id,
            required_capabilities=[self.chance.choice(CAPABILITIES)],
            priority=self.chance.choice((0, 0, 0, 5)),
            dependencies=dependencies,
            filler=self.chance.random() < 0.1,
            dispatch=dispatch,
            retry_policy=RetryPolicy(
                max_attempts=4,
                initial_backoff=Duration(nanos=100_000_000),
                max_backoff=Duration(nanos=400_000_000),
            ),
        )
        if self.chance.random() < 0.3:
            task.max_cost_micros = self.chance.choice(_MOST)
        if self.chance.random() < 0.15:
            task.progress_timeout.FromTimedelta(timedelta(seconds=1.5))
        if self.chance.random() < 0.05:
            seconds = self.chance.uniform(1.0, 8.0)
            task.deadline_time.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
        return task
