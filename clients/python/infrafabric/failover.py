"""What the failure of a call at one server means for the others."""

from typing import Protocol

from google.protobuf.descriptor import Descriptor

from infrafabric.errors import Draining, FabricError, StoreUnavailable, Unreachable

# The calls that change nothing, or nothing twice: what the contract calls safe to repeat. Those
# with a request id are safe with one.
_REPEATABLE = frozenset(
    f"{call}Request"
    for call in (
        "GetSwarm",
        "ListSwarms",
        "GetTask",
        "ListTasks",
        "FindQualifiedSwarm",
        "SetBudget",
        "GetBudgetReport",
        "GetCostReport",
        "TripCircuitBreaker",
        "ResetCircuitBreaker",
        "ListCircuitBreakers",
        "AcceptHelp",
        "ListHelpRequests",
        "ListEscalations",
        "LoadSwarm",
        "UnloadSwarm",
        "ListLoadedSwarms",
        "ListViolations",
        "ValidateCredential",
        "RevokeCredential",
        "AcknowledgeEscalation",
        "GetPolicy",
        "CheckPolicy",
        "GetStatus",
        "QueryEntries",
        "RegisterSwarm",
        "ClaimTask",
        "ReleaseTask",
        "ExtendClaim",
        "ReportProgress",
        "CompleteTask",
        "FailTask",
        "CancelTask",
        "PushTask",
        "BroadcastTask",
        "Notify",
    )
)


class Request(Protocol):
    """A message that knows its type."""

    DESCRIPTOR: Descriptor


def leaves(failure: FabricError) -> bool:
    """Tell whether to go on at another server: this one is gone, about to stop, or cut off."""
    return isinstance(failure, Draining | Unreachable | StoreUnavailable)


def repeats(failure: FabricError, request: Request) -> bool:
    """Tell whether a call that failed may be made again, at another server.

    Args:
        failure: how it failed.
        request: what was asked.
    """
    # Refused without effect, or with an effect that is not known.
    return isinstance(failure, Draining) or (leaves(failure) and repeatable(request))


def repeatable(request: Request) -> bool:
    """Tell whether the contract lets a request be repeated."""
    if "request_id" in request.DESCRIPTOR.fields_by_name:
        return bool(getattr(request, "request_id", ""))
    return request.DESCRIPTOR.name in _REPEATABLE
