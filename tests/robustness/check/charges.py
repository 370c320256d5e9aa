"""Every acknowledged cost is charged once, as it was reported, and to whom it is due."""

from collections import defaultdict
from collections.abc import Iterator

from tests.robustness.check.effects import Group, groups
from tests.robustness.check.violation import Violation
from tests.robustness.evidence import Entry, Evidence
from tests.robustness.history import Operation

# Of a helper's cost: who asked for help, and the helper itself.
_PAYERS = 2


def charges(evidence: Evidence) -> Iterator[Violation]:
    """Compare the costs that were asked for with those in the log.

    Costs without help are judged by `effects` as well; here it is about the amounts.
    """
    entries: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in evidence.entries("cost_tracked"):
        entries[str(entry.details["operation"])].append(entry)
    for group in groups(evidence):
        if group.kind == "cost":
            for entry in entries[group.tag]:
                yield from _as_asked(group, entry)
    of_helpers: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in evidence.of_kind("help-cost"):
        of_helpers[operation.tag].append(operation)
    for tag, operations in of_helpers.items():
        yield from _helped(Group("help-cost", tag, tuple(operations)), entries[tag])


def _as_asked(group: Group, entry: Entry) -> Iterator[Violation]:
    asked = group.first
    told = (entry.swarm_id, int(entry.details["cost_micros"]))
    if told != (asked.swarm_id, asked.fields["micros"]):
        text = f"the cost {group.tag} of {asked.swarm_id} became {entry.body}"
        yield Violation("effect-as-asked", text, entry.task_id, asked.swarm_id)


def _helped(group: Group, found: list[Entry]) -> Iterator[Violation]:
    """A helper's cost is charged to who asked for help, and beyond the budget to the helper."""
    asked, about = group.first, f"the cost {group.tag} of the helper {group.first.swarm_id}"
    if group.acknowledged and not found:
        yield _violation("acknowledged-is-kept", group, f"{about} was acknowledged, with no entry")
    if group.impossible and found:
        yield _violation("refused-has-no-effect", group, f"{about} was refused and charged")
    if not found:
        return
    if len({entry.revision for entry in found}) > 1 or len(found) > _PAYERS:
        yield _violation("effect-once", group, f"{about} was charged {len(found)} times")
    charged = sum(int(entry.details["cost_micros"]) for entry in found)
    helps = {(e.details.get("help_id"), e.details.get("helper_swarm_id")) for e in found}
    wanted = {(asked.fields["help_id"], asked.swarm_id)}
    if charged != asked.fields["micros"] or helps != wanted:
        yield _violation("effect-as-asked", group, f"{about} became {[e.body for e in found]}")


def _violation(check: str, group: Group, text: str) -> Violation:
    return Violation(check, text, swarm_id=group.first.swarm_id)
