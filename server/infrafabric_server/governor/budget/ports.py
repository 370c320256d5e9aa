"""Money and tasks: what the governor asks of whoever keeps the tasks."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Spent:
    """A cost in micro-US-dollars: who spent it on what; without a task it is the swarm's own.

    With a `help_id` it is of the task that the swarm helps with, and of whoever asked.
    """

    swarm_id: str
    operation: str
    micros: int
    task_id: str = ""
    attempt: int = 0
    help_id: str = ""


@dataclass(frozen=True, slots=True)
class TaskAccount:
    """What a task may cost over all its attempts, and what it has; a limit of None is none."""

    task_id: str
    limit_micros: int | None
    spent_micros: int
    reserved_micros: int


class TaskMoney(Protocol):
    """The money of tasks."""

    async def track(self, spent: Spent, request_id: str = "") -> int:
        """Charge a cost; return what its attempt, or all helpers of it, may still spend.

        That is 0 without a task or a request for help. A repeat of `request_id` charges nothing.
        Raises SWARM_NOT_FOUND, TASK_NOT_FOUND, STALE_ATTEMPT, NOT_OWNER, TASK_NOT_CLAIMED,
        TASK_ENDED, HELP_NOT_FOUND, HELP_ENDED, NOT_A_HELPER, REQUEST_ID_REUSED, CONTENTION.
        """
        ...

    async def limit_task(self, task_id: str, limit_micros: int | None) -> TaskAccount:
        """Set what a task may cost; None is no limit. Raises TASK_NOT_FOUND, TASK_ENDED."""
        ...

    async def account(self, task_id: str) -> TaskAccount:
        """Return the account of a live or an archived task. Raises TASK_NOT_FOUND."""
        ...
