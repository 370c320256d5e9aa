"""What a credential allows, as pure functions of what is known of it and of its claim."""

from collections.abc import Iterable
from datetime import datetime

from infrafabric_server.chassis.credentials.models import (
    Credential,
    Denial,
    Endpoint,
    TaskCredentials,
)
from infrafabric_server.chassis.credentials.urls import Target
from infrafabric_server.coordinator.models import Task
from infrafabric_server.coordinator.rules import holds
from infrafabric_server.errors import FieldViolation
from infrafabric_server.governor.policy.models import Containing
from infrafabric_server.governor.policy.naming import named


def claimed(held: TaskCredentials, task: Task | None, now: datetime) -> bool:
    """Tell whether the claim that credentials were issued for still lives.

    A claim with a time to live ends for them when that is over, even before anybody notes it.
    """
    if task is None or task.claim is None or not holds(task, held.swarm_id, held.attempt):
        return False
    return task.claim.expire_time is None or now < task.claim.expire_time


def ended(credential: Credential, now: datetime) -> Denial | None:
    """Return why a credential allows nothing any more, None while it does."""
    if credential.revoke_time is not None:
        return Denial.REVOKED
    return Denial.EXPIRED if credential.expire_time <= now else None


def over(
    held: TaskCredentials, credential: Credential, task: Task | None, now: datetime
) -> Denial | None:
    """Return why a credential is not live, by itself or by its claim; None while it is."""
    denial = ended(credential, now)
    if denial is None and not claimed(held, task, now):
        denial = Denial.CLAIM_ENDED
    return denial


def denied(credential: Credential, method: str, target: Target) -> Denial | None:
    """Return why a request is beyond what a credential is for, None when it is within."""
    covering = [each for each in credential.endpoints if each.covers(target)]
    if not covering:
        return Denial.ENDPOINT
    return None if any(method in each.methods for each in covering) else Denial.METHOD


def granted(
    credentials: Iterable[Credential], method: str, target: Target, now: datetime
) -> Credential | Denial:
    """Return the first credential that allows a request, or why the one that is nearest does not.

    A credential for the endpoint with another method is nearer than one for another endpoint.
    """
    why = Denial.NOT_ISSUED
    for credential in credentials:
        if ended(credential, now) is not None:
            continue
        denial = denied(credential, method, target)
        if denial is None:
            return credential
        why = denial if why is not Denial.METHOD else why
    return why


def beyond(
    endpoints: Iterable[Endpoint], most: Containing, policy_hash: str, field: str
) -> list[FieldViolation]:
    """Return which endpoints are on hosts that a policy does not allow.

    Args:
        endpoints: what a contract or a credential is for.
        most: what the policy allows.
        policy_hash: names the policy to the caller.
        field: names the endpoints to the caller.
    """
    allowed = ", ".join(most.allowed_hosts or ()) or "none"
    rule = f"must be on a host of chassis.allowed_hosts of {named(policy_hash)}: {allowed}"
    return [
        FieldViolation(f"{field}[{n}].url", rule)
        for n, each in enumerate(endpoints)
        if not most.allows_host(each.host)
    ]


def with_room(held: TaskCredentials, now: datetime) -> TaskCredentials:
    """Return the credentials without those that allow nothing any more."""
    left = tuple(each for each in held.credentials if ended(each, now) is None)
    return held.model_copy(update={"credentials": left})
