"""Which swarms and tasks the requests for help have to do with: looked up, never searched."""

from collections import defaultdict
from collections.abc import Collection

from infrafabric_server.governor.help.models import HelpRequest
from infrafabric_server.store.view import View


class Involved:
    """Kept from the view of requests as it changes: whoever hears of a change finds it here.

    `lasting` is how many requests are not known to be over.
    """

    def __init__(self, requests: View[HelpRequest]) -> None:
        """Follow the requests; call before the mirror starts."""
        self._helping: defaultdict[str, set[str]] = defaultdict(set)
        self._asked: defaultdict[str, set[str]] = defaultdict(set)
        self._about: defaultdict[str, set[str]] = defaultdict(set)
        self._of_task: defaultdict[str, set[str]] = defaultdict(set)
        self._made: defaultdict[str, set[str]] = defaultdict(set)
        self.lasting = 0
        requests.count(self._count)

    def helping(self, swarm_id: str) -> Collection[str]:
        """Return the requests that a swarm helps with and that are not known to be over."""
        return self._helping.get(swarm_id, ())

    def asked(self, swarm_id: str) -> Collection[str]:
        """Return the requests that are offered to a swarm now."""
        return self._asked.get(swarm_id, ())

    def about(self, swarm_id: str) -> Collection[str]:
        """Return the requests that a swarm made, helps with or is asked for, ended ones too."""
        return self._about.get(swarm_id, ())

    def made(self, swarm_id: str) -> Collection[str]:
        """Return the requests that a swarm made and that are not known to be over."""
        return self._made.get(swarm_id, ())

    def of_task(self, task_id: str) -> Collection[str]:
        """Return the requests for a task that are not known to be over."""
        return self._of_task.get(task_id, ())

    def _count(self, old: HelpRequest | None, new: HelpRequest | None) -> None:
        for request, note, one in ((old, _remove, -1), (new, _add, 1)):
            if request is None:
                continue
            for swarm_id in request.swarm_ids:
                note(self._about, swarm_id, request.help_id)
            for swarm_id in request.helping_ids:
                note(self._helping, swarm_id, request.help_id)
            for swarm_id in request.asked_ids:
                note(self._asked, swarm_id, request.help_id)
            if not request.ended:
                self.lasting += one
                note(self._made, request.swarm_id, request.help_id)
                note(self._of_task, request.task_id, request.help_id)


def _add(index: defaultdict[str, set[str]], name: str, help_id: str) -> None:
    index[name].add(help_id)


def _remove(index: defaultdict[str, set[str]], name: str, help_id: str) -> None:
    index[name].discard(help_id)
    if not index[name]:
        del index[name]
