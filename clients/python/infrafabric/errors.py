"""What a call can raise; match on the class, never on the text, which is for people.

The tree::

    FabricError
    ├── Unreachable              no answer: refused, cut, or too late; its effect is unknown
    └── Refused                  the fabric answered no; also any reason newer than this client
        ├── InvalidRequest       repeat it only after a change
        │   ├── InvalidField         a field breaks its rule; `fields` says which and why
        │   ├── InvalidPageToken     the token belongs to another list
        │   ├── InvalidCursor        the cursor belongs to another watch
        │   ├── DependencyCycle      tasks wait for one another
        │   ├── DependencyUnknown    a task waits for one that does not exist
        │   └── LimitReached         a count or size limit of the fabric
        ├── NotFound
        │   ├── SwarmNotFound
        │   ├── TaskNotFound
        │   ├── BlockerNotFound
        │   ├── EscalationNotFound
        │   ├── HelpNotFound
        │   └── ModuleNotFound
        ├── AlreadyExists
        │   ├── TaskExists           another task has this id
        │   └── RequestIdReused      the request id was used with another content
        ├── ClaimVoid            what is done for this claim no longer counts
        │   ├── StaleAttempt         the task was taken back or claimed anew
        │   ├── NotOwner             another swarm holds it
        │   ├── TaskNotClaimed       nobody holds it
        │   └── TaskEnded            it is completed, failed or cancelled
        ├── TaskNotAvailable     the state of the task does not allow the call
        ├── HelpEnded                the request for help is over
        ├── NotAHelper               the swarm has not accepted the request for help
        ├── SwarmNotLoaded       the swarm has no module
        ├── ModuleRefused        the module is none, or cannot be compiled or run
        ├── ChassisClosed        the server runs no foreign code
        ├── BreakerOpen          the swarm is given no work
        ├── NoSession            the swarm has no session that could receive a push
        ├── SessionEnded         the stream is over
        │   ├── SessionProtocol      the client broke the protocol
        │   ├── SessionExpired       silent for longer than the lease
        │   ├── SessionFenced        a newer stream of the same swarm took over
        │   └── SessionStopped       the server asked the client not to come back
        └── TryAgain             passes by itself; `retry_after` says when
            ├── QueueOverflow        frames were read too slowly
            ├── QueueFull            as many runs wait as may
            ├── OutboxFull           decisions cannot be recorded at the moment
            ├── Draining             the server shuts down
            ├── StoreUnavailable     the store did not answer; the effect is unknown
            └── Contention           lost a race again and again, without effect
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request and the rule that it breaks.

    `field` is a path such as `tasks[3].title`.
    """

    field: str
    rule: str


class FabricError(Exception):
    """Base of everything that a client raises about the fabric.

    Attributes:
        message: what happened, for people.
        reason: name of the `ErrorReason`, for example `ERROR_REASON_TASK_NOT_FOUND`; empty
            when the answer carried none.
        fields: the fields at fault.
        retry_after: seconds after which a repeat may succeed; None when nothing was said.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        fields: tuple[FieldViolation, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.fields = fields
        self.retry_after = retry_after


class Unreachable(FabricError):
    """No answer came; whether the call took effect is not known."""


class Refused(FabricError):
    """The fabric answered, and the answer is no."""


class InvalidRequest(Refused):
    """The request can succeed only after a change."""


class InvalidField(InvalidRequest):
    """One or more fields break their rule; see `fields`."""


class InvalidPageToken(InvalidRequest):
    """The page token was not issued for this list and these filters."""


class InvalidCursor(InvalidRequest):
    """The cursor was not issued by this watch."""


class DependencyCycle(InvalidRequest):
    """The new tasks wait for one another; the message spells the cycle out."""


class DependencyUnknown(InvalidRequest):
    """A new task waits for one that neither exists nor is created with it."""


class LimitReached(InvalidRequest):
    """A count or size limit of the fabric is reached; the message names it."""


class NotFound(Refused):
    """What the request names does not exist."""


class SwarmNotFound(NotFound):
    """No swarm is registered under this id."""


class TaskNotFound(NotFound):
    """No task has this id."""


class BlockerNotFound(NotFound):
    """The swarm has no open blocker, or none for this task."""


class EscalationNotFound(NotFound):
    """No escalation has that id; closed ones are kept for a day."""


class HelpNotFound(NotFound):
    """No request for help has that id; ended ones are kept for an hour."""


class ModuleNotFound(NotFound):
    """No module with that SHA-256 is stored."""


class AlreadyExists(Refused):
    """What the request would create is there already."""


class TaskExists(AlreadyExists):
    """Another task has this id."""


class RequestIdReused(AlreadyExists):
    """The request id was used before with another content."""


class ClaimVoid(Refused):
    """What the caller does for this claim no longer counts."""


class StaleAttempt(ClaimVoid):
    """The attempt is not the current one: the task was taken back or claimed anew."""


class NotOwner(ClaimVoid):
    """Another swarm holds the task."""


class TaskNotClaimed(ClaimVoid):
    """Nobody holds the task."""


class TaskEnded(ClaimVoid):
    """The task is completed, failed or cancelled, and stays so."""


class TaskNotAvailable(Refused):
    """The task is not in a state that allows the call."""


class HelpEnded(Refused):
    """The request for help is over: report the cost without it."""


class NotAHelper(Refused):
    """The swarm has not accepted the request for help."""


class SwarmNotLoaded(Refused):
    """The swarm has no module: load it first."""


class ModuleRefused(Refused):
    """The module is none, cannot be compiled within its limits, or imports what it may not."""


class ChassisClosed(Refused):
    """The server runs no foreign code; the message says why."""


class BreakerOpen(Refused):
    """The swarm is given no work: its breaker is open, the fabric on hold, or its pool paused."""


class NoSession(Refused):
    """The swarm has no open session that could receive a push."""


class SessionEnded(Refused):
    """The session's stream is over."""


class SessionProtocol(SessionEnded):
    """The client broke the protocol of the stream."""


class SessionExpired(SessionEnded):
    """Nothing was heard of the session for longer than its lease."""


class SessionFenced(SessionEnded):
    """A newer stream of the same swarm took over; do not reconnect by yourself."""


class SessionStopped(SessionEnded):
    """The server ended the session and asked the client not to come back."""


class TryAgain(Refused):
    """The refusal passes by itself; `retry_after` says when to repeat."""


class QueueOverflow(TryAgain):
    """The reader took frames too slowly; resume."""


class QueueFull(TryAgain):
    """As many runs wait as may, of the swarm or of the server."""


class OutboxFull(TryAgain):
    """The record of decisions is full; nothing took effect."""


class Draining(TryAgain):
    """The server shuts down and takes no new work."""


class StoreUnavailable(TryAgain):
    """The store did not answer; whether the call took effect is not known."""


class Contention(TryAgain):
    """The decision lost its race again and again and was given up without effect."""
