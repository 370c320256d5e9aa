"""Notes violations in the witness log: counted, as they may come in floods."""

from infrafabric_server.governor.models import Violation
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.witness.flood import Flood


def record_violations(book: PolicyBook, flood: Flood) -> None:
    """Have an entry for each swarm and second in which rules kept tasks from it.

    Its reasons are `rule@hash`: each rule with the hash of the policy that has it.
    """

    def count(swarm_id: str, task_id: str, violation: Violation) -> None:
        reason = f"{violation.rule}@{violation.policy_hash}"
        flood.count("policy_violated", swarm_id, task_id, reason)

    book.subscribe(count)
