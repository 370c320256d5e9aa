"""Who qualifies for a task and may be given it now, and why the others do not."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import islice

from infrafabric_server.governor.matching import Comparison
from infrafabric_server.governor.models import Exclusion, ExclusionRule, Page, Qualification
from infrafabric_server.governor.roster import Roster
from infrafabric_server.governor.screening import Refusal, Screened

MAX_CANDIDATES = 20
"""Most candidates that an explanation lists."""

# So many swarms are screened before others get their turn of the event loop.
_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for: abilities, the most that an hour may cost, and what else must hold."""

    required: frozenset[str]
    max_cost_per_hour_micros: int | None
    comparison: Comparison
    screened: Screened


class Qualifying:
    """Answers questions about all registered swarms.

    Ability and price are looked up in the index. The swarms that are left are screened one by
    one, best first: the best one is found at once, unless many before it are refused.
    """

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    async def best(self, question: Question) -> Qualification:
        """Return the best swarm that qualifies."""
        order = self._in_order(question)
        found = self._first(islice(order, _AT_ONCE), question)
        if found.best is not None:
            return found
        # The roster may change before the next turn.
        rest = list(order)
        for start in range(0, len(rest), _AT_ONCE):
            await asyncio.sleep(0)
            found = self._first(iter(rest[start : start + _AT_ONCE]), question)
            if found.best is not None:
                return found
        return Qualification(best=None)

    async def explain(self, question: Question, page: Page) -> Qualification:
        """Return the best candidates, and who was left out and why; see IFGovernor."""
        candidates, refused = await self._screen_all(question)
        ranked = self._roster.describe(candidates, question.required, question.comparison)
        excluded = self._excluded(question, refused, page.after, page.limit + 1)
        return Qualification(
            best=ranked[0] if ranked else None,
            candidates=tuple(ranked),
            excluded=tuple(excluded[: page.limit]),
            exclusion_counts=self._counts(question, refused),
            next_after=excluded[page.limit - 1].swarm_id if len(excluded) > page.limit else "",
        )

    async def counts(self, question: Question) -> dict[ExclusionRule, int]:
        """Return how many swarms each rule leaves out, without those of none."""
        _, refused = await self._screen_all(question)
        return self._counts(question, refused)

    async def _screen_all(self, question: Question) -> tuple[list[str], dict[str, Refusal]]:
        candidates: list[str] = []
        refused: dict[str, Refusal] = {}
        for number, swarm_id in enumerate(list(self._in_order(question)), 1):
            refusal = question.screened(swarm_id)
            if refusal is not None:
                refused[swarm_id] = refusal
            elif len(candidates) < MAX_CANDIDATES:
                candidates.append(swarm_id)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return candidates, refused

    def _in_order(self, question: Question) -> Iterator[str]:
        return self._roster.in_order(
            question.required,
            comparison=question.comparison,
            max_cost_per_hour_micros=question.max_cost_per_hour_micros,
        )

    def _first(self, swarm_ids: Iterator[str], question: Question) -> Qualification:
        passed = (swarm_id for swarm_id in swarm_ids if question.screened(swarm_id) is None)
        found = self._roster.describe(islice(passed, 1), question.required, question.comparison)
        return Qualification(best=found[0] if found else None)

    def _excluded(
        self, question: Question, refused: dict[str, Refusal], after: str, limit: int
    ) -> list[Exclusion]:
        unfit = self._roster.exclusions(
            question.required,
            comparison=question.comparison,
            max_cost_per_hour_micros=question.max_cost_per_hour_micros,
            after=after,
            limit=limit,
        )
        next_refused = sorted(swarm_id for swarm_id in refused if swarm_id > after)[:limit]
        matches = self._roster.describe(next_refused, question.required, question.comparison)
        screened = (
            Exclusion(
                swarm_id=each.swarm_id,
                rule=refused[each.swarm_id].rule,
                match=each.match,
                detail=refused[each.swarm_id].detail,
            )
            for each in matches
        )
        return list(islice(merge(unfit, screened, key=lambda each: each.swarm_id), limit))

    def _counts(self, question: Question, refused: dict[str, Refusal]) -> dict[ExclusionRule, int]:
        counts = Counter(refusal.rule for refusal in refused.values())
        counts.update(
            self._roster.exclusion_counts(
                question.required,
                comparison=question.comparison,
                max_cost_per_hour_micros=question.max_cost_per_hour_micros,
            )
        )
        return {rule: counts[rule] for rule in ExclusionRule if counts[rule]}
