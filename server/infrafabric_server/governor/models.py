"""What the governor answers with: matches, exclusions, and the reasons for both."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from infrafabric_server.limits import MAX_MONEY_MICROS, Identifier

_FROZEN = ConfigDict(frozen=True)

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that forbids a claim, and the hash of the policy that has it."""

    rule: str
    detail: str
    policy_hash: str


class CapabilityMatch(BaseModel):
    """A swarm that qualifies, and how well it does.

    `score` is match times reputation per US dollar of an hour, or match times reputation
    for a swarm that costs nothing; scores of the two kinds do not compare. `rank` is 1 for
    the best.
    """

    model_config = _FROZEN

    swarm_id: Identifier
    match: Share
    score: Annotated[float, Field(ge=0)]
    cost_per_hour_micros: Annotated[int, Field(ge=0, le=MAX_MONEY_MICROS)]
    reputation: Share
    rank: Annotated[int, Field(ge=1)] = 1


class ExclusionRule(StrEnum):
    """A rule that leaves a swarm out, in the order in which they are applied."""

    CAPABILITY = "capability"
    COST = "cost"
    BREAKER = "breaker"
    BUDGET = "budget"
    POLICY = "policy"
    NO_SLOT = "no_slot"
    NO_SESSION = "no_session"


class Exclusion(BaseModel):
    """A swarm that was left out; `rule` is the first that did it, `detail` has its numbers."""

    model_config = _FROZEN

    swarm_id: Identifier
    rule: ExclusionRule
    match: Share
    detail: str


class Page(BaseModel):
    """Which exclusions an explanation lists: at most `limit`, after the id `after`."""

    model_config = _FROZEN

    after: str = ""
    limit: Annotated[int, Field(ge=1)] = 20


class Qualification(BaseModel):
    """The answer to "who is right for this?": the best swarm, and why not the others.

    `candidates`, `excluded` and `exclusion_counts` are empty unless an explanation was asked
    for. `next_after` is the id after which the next page of exclusions begins, "" at the end.
    """

    model_config = _FROZEN

    best: CapabilityMatch | None
    candidates: tuple[CapabilityMatch, ...] = ()
    excluded: tuple[Exclusion, ...] = ()
    exclusion_counts: Mapping[ExclusionRule, int] = {}
    next_after: str = ""
