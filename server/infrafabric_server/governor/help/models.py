"""Requests for help, as they are stored, and what is said to make one."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from infrafabric_server.limits import MAX_MODEL, MAX_MONEY_MICROS, Capabilities, Identifier, Text

_FROZEN = ConfigDict(frozen=True)

Money = Annotated[int, Field(ge=0, le=MAX_MONEY_MICROS)]


class HelpState(StrEnum):
    """How a request stands; `rules` has the transitions."""

    OPEN = "open"
    STAFFED = "staffed"
    UNQUALIFIED = "unqualified"
    ENDED = "ended"


class Urgency(StrEnum):
    """How soon help is needed; the names are in order."""

    LOW = "low"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Its place among all, 0 for the most urgent."""
        return (Urgency.CRITICAL, Urgency.HIGH, Urgency.LOW).index(self)


class Offer(BaseModel):
    """Who is asked, and since when."""

    model_config = _FROZEN

    swarm_id: Identifier
    time: datetime


class Helper(BaseModel):
    """Who helps, and since when.

    One that accepted while it had a session helps as long as it has one, `in_session`.
    """

    model_config = _FROZEN

    swarm_id: Identifier
    time: datetime
    in_session: bool = False


class HelpRequest(BaseModel):
    """A blocked swarm's request for help with a claim; stored under `help/<help_id>`.

    `helpers` are in the order in which they accepted. `passed` are swarms that let an offer expire:
    they are asked again only when all others that fit have been. `unqualified` tells that the last
    search found nobody. `spent_micros` is all that helpers have spent; of that,
    `drawn_micros` was covered by the budget and charged to the claim. `end_cause` is for people.
    `request_id` is that of the last call, so that a repeat of it is recognised.
    """

    model_config = _FROZEN

    help_id: Identifier
    swarm_id: Identifier
    task_id: Identifier
    attempt: Annotated[int, Field(ge=1)]
    reason: Text
    needs: Capabilities
    urgency: Urgency = Urgency.LOW
    budget_micros: Money = 0
    max_helpers: Annotated[int, Field(ge=1)]
    helpers: tuple[Helper, ...] = ()
    asked: tuple[Offer, ...] = ()
    passed: tuple[str, ...] = ()
    unqualified: bool = False
    spent_micros: int = 0
    drawn_micros: Money = 0
    request_id: Annotated[str, Field(max_length=MAX_MODEL)] = ""
    create_time: datetime
    update_time: datetime
    end_time: datetime | None = None
    end_cause: Text = ""

    @property
    def state(self) -> HelpState:
        """How it stands."""
        if self.end_time is not None:
            return HelpState.ENDED
        if len(self.helpers) >= self.max_helpers:
            return HelpState.STAFFED
        return HelpState.UNQUALIFIED if self.unqualified else HelpState.OPEN

    @property
    def ended(self) -> bool:
        """Whether it is known to be over; see `coordinator.help.rules.over`."""
        return self.end_time is not None

    @property
    def helper_ids(self) -> tuple[str, ...]:
        """Who helps, or did until the end."""
        return tuple(each.swarm_id for each in self.helpers)

    @property
    def helping_ids(self) -> tuple[str, ...]:
        """Who helps, as far as it is not known to be over."""
        return () if self.ended else self.helper_ids

    @property
    def asked_ids(self) -> tuple[str, ...]:
        """Who is asked."""
        return tuple(each.swarm_id for each in self.asked)

    @property
    def swarm_ids(self) -> Iterable[str]:
        """All that have to do with it: who asks, who helps, who is asked."""
        return (self.swarm_id, *self.helper_ids, *self.asked_ids)

    @property
    def left_micros(self) -> int:
        """What helpers may still spend of the budget."""
        return max(0, self.budget_micros - self.drawn_micros)

    @property
    def places(self) -> int:
        """How many more swarms may be asked; not more than may help if all of them accept."""
        return max(0, self.max_helpers - len(self.helpers) - len(self.asked))

    @property
    def turn(self) -> tuple[int, datetime, str]:
        """What orders requests: the more urgent one goes first, then the older one."""
        return self.urgency.rank, self.create_time, self.help_id


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a swarm says that asks for help; a budget of None is all that is left."""

    swarm_id: str
    task_id: str
    attempt: int
    reason: str
    needs: frozenset[str]
    urgency: Urgency = Urgency.LOW
    budget_micros: int | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The answer to a swarm that would help; `refusal` says why it does not, "" when it does."""

    help: HelpRequest
    refusal: str = ""

    @property
    def accepted(self) -> bool:
        """Whether it helps."""
        return not self.refusal
