"""The judge: a pure function of the evidence, which asks no server."""

from collections.abc import Iterator

from tests.robustness.check import effects, final, money, order, watches
from tests.robustness.check.breakers import breakers
from tests.robustness.check.charges import charges
from tests.robustness.check.escalations import escalations
from tests.robustness.check.helping import helping
from tests.robustness.check.replay import replay
from tests.robustness.check.violation import Violation
from tests.robustness.evidence import Evidence

__all__ = ["Violation", "judge"]


def judge(evidence: Evidence) -> list[Violation]:
    """Return everything that must not be, in a fixed order; nothing when all is well."""
    return list(_violations(evidence))


def _violations(evidence: Evidence) -> Iterator[Violation]:
    for seen in evidence.seen("unavailable"):
        # There is no state to be judged.
        text = f"the fabric did not come back when the faults were over: {seen.fields['why']}"
        yield Violation("comes-back", text)
        return
    replayed = replay(evidence)
    yield from final.chain(evidence)
    yield from replayed.violations
    yield from effects.claims(evidence)
    yield from effects.effects(evidence)
    yield from effects.creations(evidence)
    yield from effects.cancellations(evidence, replayed)
    yield from order.real_time(evidence)
    yield from order.reads(evidence, replayed)
    yield from watches.task_watches(evidence, replayed)
    yield from watches.status_watches(evidence)
    yield from watches.gaps(evidence)
    yield from watches.listeners(evidence)
    yield from watches.streams(evidence)
    yield from watches.tails(evidence)
    yield from charges(evidence)
    spent = money.follow(evidence)
    yield from spent.violations
    yield from money.reports(evidence, spent)
    yield from breakers(evidence)
    yield from helping(evidence, replayed)
    yield from escalations(evidence)
    yield from final.state(evidence, replayed)
    yield from final.statuses(evidence)
    yield from final.liveness(evidence)
    yield from final.servers(evidence)
