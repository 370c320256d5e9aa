"""What a person does with foreign code: loads it into the box, and makes a task for it."""

import json

from demo.journal import Journal
from demo.picture import News
from demo.plan import BOXED, BOXED_TASK, BOXED_TEXT, MODULE_FILE
from demo.trial import Command
from demo.view import View
from infrafabric.v1.task_pb2 import Task
from infrafabric.values import from_struct


class Boxed:
    """A task that is a WebAssembly module, which the fabric itself runs.

    Args:
        infrafabric: runs the commands that a person would type.
        journal: the supervisor's.
        view: where news go.
    """

    def __init__(self, infrafabric: Command, journal: Journal, view: View) -> None:
        self._infrafabric = infrafabric
        self._journal = journal
        self._view = view

    async def begin(self) -> None:
        """Load a swarm with the module, and create the task.

        Raises:
            RunFailedError: a command did not answer as it should.
        """
        await self._infrafabric("swarm", "register", BOXED)
        limits = ("--memory-mb", "16", "--seconds", "2", "--version", "1")
        await self._infrafabric("chassis", "load", BOXED, str(MODULE_FILE), *limits)
        self._view.tell(News(f"{BOXED} is loaded with {MODULE_FILE.name}, in a box"))
        await self._infrafabric(
            *("tasks", "create", "Count the words of the manual"),
            *("--id", BOXED_TASK, "--chassis", BOXED),
            *("--input", json.dumps({"text": BOXED_TEXT})),
        )

    def end(self, done: Task) -> None:
        """Note what the module found."""
        words = int(from_struct(done.result)["words"])
        self._journal.write("counted", done.task_id, done.attempt, words=words)
        self._view.tell(News(f"{BOXED} counted {words} words"))
