"""Which swarms and tasks the scheduler keeps apart, until something changes for either."""

from collections.abc import Iterable
from itertools import islice, zip_longest

from infrafabric_server.coordinator.pairs import MAX_PAIRS, Pairs, Searches

# Unfinished searches of swarms, and of tasks, that go on where they were: each may name all waiting
# tasks, or all swarms.
_SEARCHES = 8


class Apart:
    """What swarms gave back, what they lack money for, and what the policy keeps from them.

    Pairs are remembered to save the work of trying them again, so that the oldest may be forgotten.
    Searches that are not at their end know of themselves what they have tried.
    """

    def __init__(self, most: int = MAX_PAIRS) -> None:
        """Start empty; at most so many pairs of a kind are remembered."""
        self._most = most
        self._refused = Pairs(most)
        self._unpaid = Pairs(most)
        self._denied = Pairs(most)
        self._of_swarms = Searches(_SEARCHES)
        self._of_tasks = Searches(_SEARCHES)
        self._fresh_first = False

    @property
    def searching(self) -> bool:
        """Whether the search of a swarm is not at its end."""
        return len(self._of_swarms) > 0

    def choosing(self, fresh: Iterable[str], most: int | None) -> list[str]:
        """Return who is to choose, at most `most`: those whose search goes on, and fresh ones.

        They take turns, and in being the first, so that neither wait for all of the others.
        """
        going_on = self._of_swarms.names(None if most is None else most // 2)
        left = None if most is None else most - len(going_on)
        others = islice((each for each in fresh if each not in going_on), left)
        self._fresh_first = not self._fresh_first
        order = (others, iter(going_on)) if self._fresh_first else (iter(going_on), others)
        turns = zip_longest(*order)
        return [each for turn in turns for each in turn if each is not None]

    def tasks(self, swarm_id: str) -> set[str]:
        """Return what a swarm need not be tried for; its search goes on with this."""
        pairs = (self._refused, self._unpaid, self._denied)
        return self._of_swarms.resume(swarm_id).union(*(each.tasks(swarm_id) for each in pairs))

    def swarms(self, task_id: str) -> set[str]:
        """Return who need not be tried for a task; its search goes on with this."""
        pairs = (self._refused, self._unpaid, self._denied)
        return self._of_tasks.resume(task_id).union(*(each.swarms(task_id) for each in pairs))

    def keep_swarm(self, swarm_id: str, tried: set[str]) -> bool:
        """Have the search of a swarm go on; return False if there is no room: it begins anew."""
        return self._of_swarms.keep(swarm_id, tried)

    def keep_task(self, task_id: str, tried: set[str]) -> None:
        """Have the search of a task go on, or begin anew if there is no room."""
        self._of_tasks.keep(task_id, tried)

    def drop_task(self, task_id: str) -> None:
        """Forget the search of a task that looks for a swarm no longer."""
        self._of_tasks.resume(task_id)

    def refuse(self, swarm_id: str, task_id: str) -> None:
        """Note that a swarm gave a task back."""
        self._refused.add(swarm_id, task_id)

    def has_refused(self, swarm_id: str, task_id: str) -> bool:
        """Tell whether a swarm gave a task back."""
        return task_id in self._refused.tasks(swarm_id)

    def forgive(self, swarm_id: str) -> None:
        """Forget what a swarm gave back."""
        self._refused.forget_swarm(swarm_id)
        self._restart(swarm_id)

    def unpaid(self, swarm_id: str, task_id: str) -> None:
        """Note that there is no money to give a swarm a task."""
        self._unpaid.add(swarm_id, task_id)

    def denied(self, swarm_id: str, task_id: str) -> None:
        """Note that the policy keeps a task from a swarm."""
        self._denied.add(swarm_id, task_id)

    def paid(self, swarm_id: str) -> None:
        """Note that there may be money for a swarm, and a rule may see it otherwise."""
        self._unpaid.forget_swarm(swarm_id)
        self.judged_anew(swarm_id)

    def judged_anew(self, swarm_id: str) -> None:
        """Note that the policy may give a swarm what it did not before."""
        self._denied.forget_swarm(swarm_id)
        self._restart(swarm_id)

    def policy_changed(self) -> None:
        """Forget all that was kept apart by the policy before."""
        self._unpaid, self._denied = Pairs(self._most), Pairs(self._most)
        self._of_swarms.restart_all()
        self._of_tasks.restart_all()

    def task_changed(self, task_id: str) -> None:
        """Note that swarms may be admitted to a task that were not before."""
        self._unpaid.forget_task(task_id)
        self._denied.forget_task(task_id)
        self._of_swarms.try_again(task_id)
        self._of_tasks.restart(task_id)

    def task_ended(self, task_id: str) -> None:
        """Forget all about a task."""
        self.task_changed(task_id)
        self._refused.forget_task(task_id)

    def swarm_left(self, swarm_id: str) -> None:
        """Forget all about a swarm."""
        for pairs in (self._refused, self._unpaid, self._denied):
            pairs.forget_swarm(swarm_id)
        self._of_swarms.resume(swarm_id)
        self._of_tasks.try_again(swarm_id)

    def _restart(self, swarm_id: str) -> None:
        self._of_swarms.restart(swarm_id)
        self._of_tasks.try_again(swarm_id)
