"""Creating tasks: a whole board or nothing, assigned at once where a swarm is free."""

import hashlib
import secrets
from collections.abc import Iterable, Sequence

from infrafabric_server.coordinator import rules
from infrafabric_server.coordinator.admission import ClaimRefused
from infrafabric_server.coordinator.boards import check_dependencies
from infrafabric_server.coordinator.dispatcher import Dispatcher
from infrafabric_server.coordinator.models import (
    Dispatch,
    RequestRecord,
    Task,
    TaskSpec,
    TaskState,
)
from infrafabric_server.coordinator.records import ARCHIVE, MAX_TRIES, Fact, Records
from infrafabric_server.coordinator.scheduler import Assignment
from infrafabric_server.coordinator.slots import Slots
from infrafabric_server.errors import FabricError, FieldViolation, InvalidField, Reason
from infrafabric_server.governor.money import usd
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.naming import named
from infrafabric_server.limits import MAX_BOARD_BYTES, MAX_BOARD_TASKS, MAX_LIVE_TASKS
from infrafabric_server.store.mirror import Write
from infrafabric_server.store.protocol import Compare, absent

# After so many lost attempts, tasks are created as they are, and assigned one by one.
_ASSIGNING = 4

# Tasks that are assigned as they are created. A transaction takes 8,192 compares and operations;
# a task needs four of them, and its claim seven more when each is for another swarm. The others are
# assigned right after.
_ASSIGNED = 400

NewTask = tuple[TaskSpec, Dispatch]


def new_task_id(request_id: str, position: int) -> str:
    """Return an id for a task whose creator chose none: the same one for the same request."""
    if not request_id:
        return f"task-{secrets.token_hex(8)}"
    digest = hashlib.sha256(f"{request_id}/{position}".encode()).hexdigest()
    return f"task-{digest[:16]}"


class Creation:
    """The use case of creating tasks."""

    def __init__(
        self, records: Records, dispatcher: Dispatcher, slots: Slots, policies: PolicyBook
    ) -> None:
        self._records = records
        self._policies = policies
        self._slots = slots
        self._dispatcher = dispatcher

    async def create(self, new: Sequence[NewTask], request_id: str = "") -> tuple[Task, ...]:
        """Create all of `new` or nothing, and return them as they are then.

        A task that is ready and finds a free swarm is created claimed, in the same
        transaction. A repeat of `request_id` within 24 hours returns the tasks of the first
        call. Raises InvalidField, TASK_EXISTS, DEPENDENCY_UNKNOWN, DEPENDENCY_CYCLE,
        REQUEST_ID_REUSED, LIMIT_REACHED, CONTENTION.
        """
        self._check_size(new)
        digest = _digest(new) if request_id else ""
        lost = False
        for tried in range(MAX_TRIES):
            refusal: FabricError | None = None
            try:
                self._check_costs(new)
                await self._check_board(new, archive=lost)
                created = await self._write(new, request_id, digest, assign=tried < _ASSIGNING)
                if created is not None:
                    return created
            except FabricError as error:
                refusal = error
            # Only now is it worth a look whether the call is a repeat.
            earlier = await self._earlier(request_id, digest)
            if earlier is not None:
                return earlier
            if refusal is not None:
                raise refusal
            lost = True
        raise FabricError(
            Reason.CONTENTION, "the board changed while it was created; try again", retry_after=0.1
        )

    def _check_size(self, new: Sequence[NewTask]) -> None:
        if not 1 <= len(new) <= MAX_BOARD_TASKS:
            raise InvalidField(FieldViolation("tasks", f"must have 1 to {MAX_BOARD_TASKS} entries"))
        if sum(len(spec.input_json) for spec, _ in new) > MAX_BOARD_BYTES:
            raise InvalidField(
                FieldViolation("tasks", f"inputs must be at most {MAX_BOARD_BYTES} bytes together")
            )
        if len(self._records.tasks) + len(new) > MAX_LIVE_TASKS:
            raise FabricError(
                Reason.LIMIT_REACHED, f"the fabric holds at most {MAX_LIVE_TASKS} live tasks"
            )

    def _check_costs(self, new: Sequence[NewTask]) -> None:
        current = self._policies.current
        for index, (spec, _) in enumerate(new):
            limit = current.policy.budgets_for(
                spec.task_id, spec.required_capabilities
            ).max_task_cost_micros
            if limit is not None and (spec.max_cost_micros or 0) > limit:
                most = f"{usd(limit)}, max_task_cost_micros of {named(current.hash)}"
                rule = f"must be at most {most}"
                raise InvalidField(FieldViolation(f"tasks[{index}].max_cost_micros", rule))

    async def _earlier(self, request_id: str, digest: str) -> tuple[Task, ...] | None:
        record = await self._records.requests.answered(request_id, digest)
        if record is None:
            return None
        await self._records.mirror.catch_up()
        found = [await self._records.find(task_id) for task_id in record.task_ids]
        return tuple(task for task in found if task is not None)

    async def _check_board(self, new: Sequence[NewTask], *, archive: bool) -> None:
        """Check ids and dependencies; look for archived ids only after a lost comparison."""
        board: dict[str, tuple[str, ...]] = {}
        for index, (spec, _) in enumerate(new):
            if spec.task_id in board:
                raise InvalidField(
                    FieldViolation(f"tasks[{index}].task_id", "must be unique on the board")
                )
            known = self._records.tasks.get(spec.task_id)
            if known is None and archive:
                known = await self._records.find(spec.task_id)
            if known is not None:
                raise FabricError(
                    Reason.TASK_EXISTS,
                    f"a task {spec.task_id} exists already",
                    fields=[FieldViolation(f"tasks[{index}].task_id", "must be new")],
                )
            board[spec.task_id] = spec.dependencies
        outside = {d for deps in board.values() for d in deps if d not in board}
        found = {name: await self._records.find(name) for name in outside}
        check_dependencies(board, lambda name: found.get(name) is not None)
        for name, task in found.items():
            if task is not None and task.state in (TaskState.FAILED, TaskState.CANCELLED):
                at = next(i for i, deps in enumerate(board.values()) if name in deps)
                rule = f"dependency {name} is {task.state} and will never be completed"
                field = f"tasks[{at}].dependencies"
                raise FabricError(Reason.TASK_ENDED, rule, fields=[FieldViolation(field, rule)])

    async def _write(
        self, new: Sequence[NewTask], request_id: str, digest: str, *, assign: bool
    ) -> tuple[Task, ...] | None:
        tasks = {spec.task_id: await self._initial(spec, dispatch) for spec, dispatch in new}
        assignments = self._assign(tasks.values()) if assign else []
        try:
            return await self._commit(tasks, assignments, request_id, digest)
        finally:
            for assignment in assignments:
                self._dispatcher.done(assignment)

    def _assign(self, tasks: Iterable[Task]) -> list[Assignment]:
        ready = [task for task in tasks if task.state is TaskState.AVAILABLE and task.assigned]
        ready.sort(key=lambda task: (task.spec.filler, -task.spec.priority, task.spec.position))
        self._dispatcher.settle()
        found = (self._dispatcher.reserve_for(task) for task in ready[:_ASSIGNED])
        return [assignment for assignment in found if assignment is not None]

    async def _commit(
        self,
        tasks: dict[str, Task],
        assignments: Sequence[Assignment],
        request_id: str,
        digest: str,
    ) -> tuple[Task, ...] | None:
        compares: list[Compare] = [absent(self._records.tasks.key(task_id)) for task_id in tasks]
        compares.extend(absent(ARCHIVE + task_id) for task_id in tasks)
        facts = [Fact("task_created", task_id=task_id) for task_id in tasks]
        claims: list[Task] = []
        for assignment in assignments:
            claimed = self._dispatcher.assigned(tasks[assignment.task_id], assignment)
            if claimed is None:
                continue
            tasks[assignment.task_id] = claimed.task
            claims.append(claimed.task)
            compares.extend(claimed.compares)
            facts.extend(claimed.facts)
        writes: list[Write] = [
            self._records.tasks.put(task_id, task) for task_id, task in tasks.items()
        ]
        if request_id:
            record = RequestRecord(
                digest=digest, task_ids=tuple(tasks), time=self._records.clock.now()
            )
            compare, write = self._records.requests.remember(request_id, record)
            compares.append(compare)
            writes.append(write)
        try:
            if len(claims) == 1:
                result = await self._slots.claim(claims[0], compares, writes, facts)
            else:
                result = await self._slots.claim_all(claims, compares, writes, facts)
        except ClaimRefused as refused:
            await self._dispatcher.refused(refused)
            return None
        return tuple(tasks.values()) if result.succeeded else None

    async def _initial(self, spec: TaskSpec, dispatch: Dispatch) -> Task:
        ready = True
        for dependency in spec.dependencies:
            found = await self._records.find(dependency)
            if found is None or found.state is not TaskState.COMPLETED:
                ready = False
        return rules.create(spec, dispatch, ready=ready)


def _digest(new: Sequence[NewTask]) -> str:
    """Return a hash of what the caller asked for, without what the server filled in."""
    digest = hashlib.sha256()
    for spec, dispatch in new:
        # A set has another order in each process.
        needs = sorted(spec.required_capabilities)
        text = spec.model_dump_json(exclude={"create_time", "required_capabilities"})
        digest.update(f"{dispatch.value}\n{needs}\n{text}\n".encode())
    return digest.hexdigest()
