"""Whether a request for help lasts: as long as its blocker, and the claim that is blocked."""

from infrafabric_server.coordinator import rules
from infrafabric_server.coordinator.models import BlockerAlert, Task
from infrafabric_server.governor.help.models import HelpRequest


def over(request: HelpRequest, alert: BlockerAlert | None, task: Task | None) -> str:
    """Return why a request is over, for people; "" while it is live.

    Args:
        request: the request.
        alert: the blocker of its swarm and task, if there is one.
        task: its task, if it is known.
    """
    if request.ended:
        return request.end_cause
    if alert is None or alert.help_id != request.help_id:
        return "its blocker is another one by now" if alert else "its blocker is gone"
    if not alert.open:
        return f"the blocker is over: {alert.resolution}" if alert.resolution else "it was resolved"
    if task is None or not rules.holds(task, request.swarm_id, request.attempt):
        return f"attempt {request.attempt} of {request.swarm_id} is over"
    return ""
