"""Whether requests for help last, by the views; and what refuses a decision that relied on it."""

from infrafabric_server.coordinator.help import rules
from infrafabric_server.coordinator.records import Records
from infrafabric_server.governor.help.models import HelpRequest
from infrafabric_server.store.protocol import Compare, unchanged


class Liveness:
    """Decides for each call anew: never on whether the leader has noticed an end yet."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def over(self, request: HelpRequest) -> str:
        """Return why a request is over, for people; "" while it is live."""
        alert = self._records.blockers.get(self._blocker_id(request))
        return rules.over(request, alert, self._records.tasks.get(request.task_id))

    def same(self, request: HelpRequest) -> list[Compare]:
        """Return what refuses a transaction once what `over` saw has changed."""
        blockers, tasks = self._records.blockers, self._records.tasks
        blocker_id = self._blocker_id(request)
        alert, task = blockers.entry(blocker_id), tasks.entry(request.task_id)
        return [
            unchanged(blockers.key(blocker_id), 0 if alert is None else alert.mod_revision),
            unchanged(tasks.key(request.task_id), 0 if task is None else task.mod_revision),
        ]

    def _blocker_id(self, request: HelpRequest) -> str:
        return self._records.blocker_id(request.swarm_id, request.task_id)
