"""What a person does while a new agent is tried: stops nothing, and allows it to go on."""

import shlex
from collections.abc import Awaitable, Callable

from demo import programs
from demo.check.evidence import APPRENTICE
from demo.journal import Journal
from demo.member import Member
from demo.picture import News
from demo.plan import TRIAL_FILE
from demo.processes import Processes, RunFailedError
from demo.view import View

APPROVER = "Ada"
_REASON = "it read the style guide now; two more tasks"
_LIMIT_USD = 6

Command = Callable[..., Awaitable[str]]
"""Runs a command of the product, by its words, and returns what it printed."""


class Trial:
    """The trial of the apprentice.

    Args:
        infrafabric: runs the commands that a person would type.
        processes: where the apprentice is started.
        member: the apprentice.
        journal: the supervisor's.
        view: where news go.
    """

    def __init__(
        self,
        infrafabric: Command,
        processes: Processes,
        member: Member,
        journal: Journal,
        view: View,
    ) -> None:
        self._infrafabric = infrafabric
        self._processes = processes
        self._member = member
        self._journal = journal
        self._view = view

    async def run(self) -> None:
        """Let it fail until its breaker opens; reset that; let it work until its money is used up.

        Raises:
            RunFailedError: something ended or answered as it should not.
        """
        await self._infrafabric("board", "import", str(TRIAL_FILE))
        await self._try("CLAIM_REFUSAL_BREAKER_OPEN")
        self._journal.write("approved", approver=APPROVER, reason=_REASON)
        words = (
            *("breaker", "reset", APPRENTICE, "--approver", APPROVER),
            *("--reason", _REASON, "--new-budget", str(_LIMIT_USD)),
        )
        said = await self._infrafabric(*words)
        self._view.tell(News(f"$ infrafabric {shlex.join(words)}"))
        self._view.tell(News(f"{APPROVER} is told: {said.strip()}"))
        await self._try("CLAIM_REFUSAL_BUDGET")

    async def _try(self, expected: str) -> None:
        command = programs.module("apprentice", self._member)
        await self._processes.run(APPRENTICE, command)
        journal = Journal(self._member.folder, APPRENTICE)
        journal.close()
        last = journal.earlier[-1]
        if last.get("refusal") != expected:
            raise RunFailedError(f"{APPRENTICE} should have met {expected}: {last}")
        self._view.tell(News(f"{APPRENTICE} is refused {last['task_id']}: {last['detail']}"))
