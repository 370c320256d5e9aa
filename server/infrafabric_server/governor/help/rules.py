"""The life of a request for help as pure functions: a request and an event in, the next one out.

    state          event                                       next
    OPEN           `accepted`, and no place is left            STAFFED
    OPEN           nobody helps, is asked or fits              UNQUALIFIED
    UNQUALIFIED    `offered`, `accepted`                       OPEN, or STAFFED
    STAFFED        a helper leaves, or more may help           OPEN
    not ENDED      `ended`                                     ENDED

The state follows from who helps and who is asked: see `HelpRequest.state`. No function here reads
a clock or does I/O; none changes a request that has ended.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from infrafabric_server.governor.help.models import Helper, HelpRequest, Offer, Wanted
from infrafabric_server.governor.helpers import Helper as IdleSwarm
from infrafabric_server.governor.helpers import rank_helpers
from infrafabric_server.governor.money import usd
from infrafabric_server.limits import MAX_TEXT

KEPT = timedelta(hours=1)
"""How long one that has ended can still be read."""

MAX_LIVE_PER_SWARM = 64
"""Most live requests of one swarm: as many as the tasks that it may work on at once."""

MAX_LIVE = 5_000
"""Most live requests in all: each may become an escalation, of which twice as many are kept."""

MAX_ENDED = 10_000
"""Most requests that have ended and can still be read; the first of them to end make room."""

SETTLING = timedelta(seconds=1)
"""How long somebody is looked for before people are told that nobody fits.

A swarm that has just finished a task, or is back after a cut, shows as idle some moments later.
"""

# Swarms that let an offer expire, of which so many are remembered; the oldest may be asked again.
MAX_PASSED = 1_000


def _next(request: HelpRequest, **changes: Any) -> HelpRequest:
    return request if request.ended else request.model_copy(update=changes)


def requested(
    help_id: str, wanted: Wanted, now: datetime, *, budget_micros: int, max_helpers: int
) -> HelpRequest:
    """Return a new request that nobody has been asked for yet."""
    return HelpRequest(
        help_id=help_id,
        swarm_id=wanted.swarm_id,
        task_id=wanted.task_id,
        attempt=wanted.attempt,
        reason=wanted.reason,
        needs=wanted.needs,
        urgency=wanted.urgency,
        budget_micros=budget_micros,
        max_helpers=max_helpers,
        request_id=wanted.request_id,
        create_time=now,
        update_time=now,
    )


def updated(
    request: HelpRequest, wanted: Wanted, now: datetime, *, budget_micros: int, max_helpers: int
) -> HelpRequest:
    """Return the request as it is asked for anew; helpers stay.

    With other needs other swarms fit: offers are taken back, and expired ones are forgotten.
    """
    anew: dict[str, object] = {}
    if wanted.needs != request.needs:
        anew = {"asked": (), "passed": (), "unqualified": False}
    after = _next(
        request,
        reason=wanted.reason,
        needs=wanted.needs,
        urgency=wanted.urgency,
        budget_micros=budget_micros,
        max_helpers=max_helpers,
        request_id=wanted.request_id,
        update_time=now,
        **anew,
    )
    return _without_surplus(after)


def _without_surplus(request: HelpRequest) -> HelpRequest:
    """Return the request without the last offers, if more are asked than may still help."""
    most = max(0, request.max_helpers - len(request.helpers))
    return request if len(request.asked) <= most else _next(request, asked=request.asked[:most])


def repeats(request: HelpRequest, wanted: Wanted) -> bool:
    """Tell whether a call repeats the last one of this request, by its request id."""
    said = (wanted.attempt, wanted.reason, wanted.needs, wanted.urgency, wanted.request_id)
    known = (
        request.attempt,
        request.reason,
        request.needs,
        request.urgency,
        request.request_id,
    )
    same_budget = wanted.budget_micros in (None, request.budget_micros)
    return bool(wanted.request_id) and said == known and same_budget


def refusal(request: HelpRequest, swarm_id: str) -> str:
    """Return why a swarm cannot join the helpers of a live request; "" when it can, or has."""
    if swarm_id in request.helper_ids or len(request.helpers) < request.max_helpers:
        return ""
    return f"{len(request.helpers)} help already, at most {request.max_helpers} may"


def accepted(
    request: HelpRequest, swarm_id: str, now: datetime, *, in_session: bool
) -> HelpRequest:
    """Return the request with one helper more; the caller has checked `refusal`.

    An offer for which there is no place any more is taken back.
    """
    if swarm_id in request.helper_ids:
        return request
    helper = Helper(swarm_id=swarm_id, time=now, in_session=in_session)
    after = _next(
        withdrawn(request, (swarm_id,)),
        helpers=(*request.helpers, helper),
        passed=tuple(each for each in request.passed if each != swarm_id),
        unqualified=False,
        update_time=now,
    )
    return _without_surplus(after)


def left(request: HelpRequest, swarm_ids: Collection[str], now: datetime) -> HelpRequest:
    """Return the request without helpers that are gone."""
    helpers = tuple(each for each in request.helpers if each.swarm_id not in swarm_ids)
    if len(helpers) == len(request.helpers):
        return request
    return _next(request, helpers=helpers, update_time=now)


def offered(request: HelpRequest, swarm_ids: Iterable[str], now: datetime) -> HelpRequest:
    """Return the request with offers to further swarms, as many as there are places."""
    others = [each for each in swarm_ids if each not in request.swarm_ids][: request.places]
    if not others:
        return request
    asked = tuple(Offer(swarm_id=each, time=now) for each in others)
    return _next(request, asked=(*request.asked, *asked), unqualified=False, update_time=now)


def lapsed(request: HelpRequest, now: datetime, offer_for: timedelta) -> list[str]:
    """Return the swarms whose offers have expired."""
    return [each.swarm_id for each in request.asked if each.time + offer_for <= now]


def next_lapse(request: HelpRequest, offer_for: timedelta) -> datetime | None:
    """Return when the first offer expires; None without offers."""
    return min((each.time + offer_for for each in request.asked), default=None)


def passed(request: HelpRequest, swarm_ids: Iterable[str]) -> HelpRequest:
    """Return the request without offers that have expired; it remembers whose they were."""
    gone = [each for each in swarm_ids if each in request.asked_ids]
    if not gone:
        return request
    remembered = (*request.passed, *gone)[-MAX_PASSED:]
    return _next(withdrawn(request, gone), passed=remembered)


def withdrawn(request: HelpRequest, swarm_ids: Collection[str]) -> HelpRequest:
    """Return the request without the offers to some swarms."""
    asked = tuple(each for each in request.asked if each.swarm_id not in swarm_ids)
    return request if len(asked) == len(request.asked) else _next(request, asked=asked)


def sought(
    request: HelpRequest, idle: Collection[IdleSwarm], least: Fraction, now: datetime
) -> HelpRequest:
    """Return the request offered to the best of the `idle` swarms, as many as there are places.

    Swarms that let an offer expire are asked again when no other is left and no offer is open.
    """
    others = [each for each in idle if each.swarm_id not in request.passed]
    if not others and idle and not request.asked:
        request, others = _next(request, passed=()), list(idle)
    best = rank_helpers(request.needs, others, limit=request.places, least=least)
    return offered(request, best, now)


def unqualified(request: HelpRequest, now: datetime) -> HelpRequest:
    """Return the request as one that no idle swarm fits, unless it is new, helped or on offer."""
    if not _lacking(request) or _settles(request, now):
        return request
    return _next(request, unqualified=True, update_time=now)


def next_unqualified(request: HelpRequest, now: datetime) -> datetime | None:
    """Return when a new request that found nobody is tried again; None when it need not be."""
    return request.create_time + SETTLING if _lacking(request) and _settles(request, now) else None


def _lacking(request: HelpRequest) -> bool:
    return not (request.helpers or request.asked or request.unqualified)


def _settles(request: HelpRequest, now: datetime) -> bool:
    # The clock of the replica that made it may be ahead by a moment. One that was set back does not
    # make it new.
    return abs(now - request.create_time) < SETTLING


def ended(request: HelpRequest, cause: str, now: datetime) -> HelpRequest:
    """Return the request over, with its helpers and without its offers."""
    return _next(
        request,
        end_time=now,
        end_cause=cause[:MAX_TEXT],
        asked=(),
        unqualified=False,
        update_time=now,
    )


def covered(request: HelpRequest, micros: int) -> int:
    """Return how much of a helper's cost the budget covers."""
    return min(micros, request.left_micros)


def spent(request: HelpRequest, micros: int) -> HelpRequest:
    """Return the request after a helper spent money on it, within its budget or beyond."""
    return _next(
        request,
        spent_micros=request.spent_micros + micros,
        drawn_micros=request.drawn_micros + covered(request, micros),
    )


def beyond(request: HelpRequest) -> str:
    """Return why a helper's cost was not covered by the budget, with the numbers."""
    spent, budget = usd(request.spent_micros), usd(request.budget_micros)
    return f"helpers of {request.help_id} have spent {spent}, they had {budget} to spend"
