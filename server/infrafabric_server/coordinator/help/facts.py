"""What the witness log is told of a request for help that the leader has brought up to date."""

from infrafabric_server.coordinator.records import Fact
from infrafabric_server.governor.help.models import HelpRequest


def told(before: HelpRequest, after: HelpRequest, policy_hash: str) -> list[Fact]:
    """Return one entry for each thing that happened to a request between two of its states."""
    if after.ended:
        details = {
            "cause": after.end_cause,
            "helpers": list(after.helper_ids),
            "spent_micros": after.spent_micros,
        }
        return [_fact("help_ended", after, details)]
    facts = []
    left = [each for each in before.helper_ids if each not in after.helper_ids]
    if left:
        facts.append(_fact("help_left", after, {"helpers": left}))
    withdrawn = [each for each in before.asked_ids if each not in after.asked_ids]
    if withdrawn:
        facts.append(_fact("help_offer_ended", after, {"asked": withdrawn}))
    asked = [each.swarm_id for each in after.asked if each not in before.asked]
    if asked:
        details = {"asked": asked, "policy_hash": policy_hash}
        facts.append(_fact("help_offered", after, details))
    if after.unqualified and not before.unqualified:
        details = {"needs": sorted(after.needs), "policy_hash": policy_hash}
        facts.append(_fact("help_unqualified", after, details))
    return facts


def _fact(operation: str, request: HelpRequest, details: dict[str, object]) -> Fact:
    return Fact(
        operation,
        request.swarm_id,
        request.task_id,
        request.attempt,
        {"help_id": request.help_id, **details},
    )
