"""Issues, validates and revokes credentials; each lives no longer than the claim it is for."""

import asyncio
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import JsonValue

from infrafabric_server.chassis.contracts import COMPONENT
from infrafabric_server.chassis.credentials import rules, tokens
from infrafabric_server.chassis.credentials.models import (
    MAX_CREDENTIALS,
    Credential,
    Denial,
    Endpoint,
    TaskCredentials,
)
from infrafabric_server.chassis.credentials.tokens import Token, new_token
from infrafabric_server.chassis.credentials.urls import Target
from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.models import Task
from infrafabric_server.coordinator.rules import holder_claim
from infrafabric_server.errors import FabricError, InvalidField, Reason
from infrafabric_server.governor.listing import Part, filtered
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.store.mirror import Change, Entry, Mirror, View
from infrafabric_server.store.protocol import Compare, unchanged
from infrafabric_server.witness.flood import Flood
from infrafabric_server.witness.outbox import Outbox

_MAX_TRIES = 16
# Attempts whose credentials are looked at in one turn of the event loop: about a millisecond.
_TURN = 256

# The hash of no token: compared when the id of a token is unknown, to take the same time.
_NOBODYS = "0" * 64


@dataclass(frozen=True, slots=True)
class Issued:
    """A new credential, and the only copy of its token."""

    held: TaskCredentials
    credential: Credential
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a token allows what was asked; `credential` only for who has its secret."""

    denial: Denial | None
    held: TaskCredentials | None = None
    credential: Credential | None = None


class Credentials:
    """The credentials of all replicas. What is valid is decided on views that have caught up."""

    def __init__(
        self,
        mirror: Mirror,
        tasks: View[Task],
        outbox: Outbox,
        flood: Flood,
        clock: Clock,
        policies: PolicyBook,
        *,
        make: Callable[[], Token] = new_token,
    ) -> None:
        """Connect, before the mirror starts; `make` returns a token that was never there."""
        self._mirror = mirror
        self._tasks = tasks
        self._outbox = outbox
        self._flood = flood
        self._clock = clock
        self._policies = policies
        self._make = make
        self._task_of: dict[str, str] = {}
        self.view = mirror.view("credentials/", TaskCredentials)
        self.view.subscribe(self._changed)

    async def issue(
        self,
        swarm_id: str,
        task_id: str,
        attempt: int,
        ttl: timedelta,
        endpoints: tuple[Endpoint, ...],
    ) -> Issued:
        """Issue a credential to the holder of a claim.

        Raises InvalidField for a host that the policy does not allow, TASK_NOT_FOUND,
        STALE_ATTEMPT, TASK_ENDED, TASK_NOT_CLAIMED, NOT_OWNER, LIMIT_REACHED, OUTBOX_FULL,
        CONTENTION, and the store's errors.
        """
        current = self._policies.current
        refused = rules.beyond(endpoints, current.policy.chassis, current.hash, "endpoints")
        if refused:
            raise InvalidField(*refused)
        try:
            return await self._issue(swarm_id, task_id, attempt, ttl, endpoints)
        except FabricError as refusal:
            # It was decided on views that have caught up.
            refusal.certain = True
            why = refusal.reason.value.lower()
            self._flood.count("credential_refused", swarm_id, task_id, why, component=COMPONENT)
            raise

    async def validate(self, token: str, request: tuple[str, Target] | None) -> Verdict:
        """Tell whether a token allows a request, a method and its target; None: any at all."""
        await self._mirror.catch_up()
        verdict = self._verdict(token, request)
        if verdict.denial is not None:
            self._refused(verdict.held, verdict.denial)
        return verdict

    async def allowed(
        self, swarm_id: str, task_id: str, attempt: int, method: str, target: Target
    ) -> Denial | None:
        """Return why no credential of an attempt allows a request; None when one does."""
        await self._mirror.catch_up()
        held = self.view.get(task_id)
        now = self._clock.now()
        ours = held is not None and (held.swarm_id, held.attempt) == (swarm_id, attempt)
        if not self.allows_host(target.host):
            denial = Denial.HOST
        elif held is None or not ours:
            denial = Denial.NOT_ISSUED
        elif not rules.claimed(held, self._tasks.get(task_id), now):
            denial = Denial.CLAIM_ENDED
        else:
            found = rules.granted(held.credentials, method, target, now)
            if isinstance(found, Credential):
                return None
            denial = found
        self._flood.count(
            "credential_refused", swarm_id, task_id, denial.value, component=COMPONENT
        )
        return denial

    def allows_host(self, host: str) -> bool:
        """Tell whether the policy lets credentials name a host at this moment."""
        return self._policies.current.policy.chassis.allows_host(host)

    async def revoke(self, credential_id: str) -> bool:
        """End a credential on every replica; tell whether it was there and not yet revoked.

        Raises OUTBOX_FULL, CONTENTION, and the store's errors.
        """
        for _ in range(_MAX_TRIES):
            await self._mirror.catch_up()
            known, credential = self._find(credential_id)
            if known is None or credential is None or credential.revoke_time is not None:
                return False
            held = known.value
            revoked = credential.model_copy(update={"revoke_time": self._clock.now()})
            after = _with(
                held, (revoked if each == credential else each for each in held.credentials)
            )
            details = {"credential_id": credential_id}
            if await self._write(known.mod_revision, after, "credential_revoked", details):
                return True
        raise _contention(credential_id)

    async def page(self, after: str, limit: int, swarm_id: str) -> Part[TaskCredentials]:
        """Return the credentials of at most `limit` tasks by id, from the first after `after` on.

        They are those of a swarm, "" for any.
        """
        return await filtered(self.view, after, limit, lambda each: swarm_id in ("", each.swarm_id))

    def listed(self, held: TaskCredentials) -> list[tuple[Credential, Denial | None]]:
        """Return the credentials of an attempt, each with why it is not live any more."""
        task, now = self._tasks.get(held.task_id), self._clock.now()
        return [(each, rules.over(held, each, task, now)) for each in held.credentials]

    async def sweep(self) -> None:
        """Remove what nobody can use any more: for the replica that leads."""
        await self._mirror.catch_up()
        now = self._clock.now()
        for number, entry in enumerate(list(self.view.entries()), 1):
            if number % _TURN == 0:
                await asyncio.sleep(0)
            task = self._tasks.entry(entry.id)
            if rules.claimed(entry.value, task.value if task else None, now):
                continue
            # What was heard of a new credential may be ahead of what is known of its task.
            same = [
                unchanged(entry.key, entry.mod_revision),
                unchanged(self._tasks.key(entry.id), task.mod_revision if task else 0),
            ]
            await self._mirror.commit(same, [self.view.delete(entry.id)])

    async def _issue(
        self,
        swarm_id: str,
        task_id: str,
        attempt: int,
        ttl: timedelta,
        endpoints: tuple[Endpoint, ...],
    ) -> Issued:
        token = self._make()
        for _ in range(_MAX_TRIES):
            await self._mirror.catch_up()
            claim, known = self._tasks.entry(task_id), self.view.entry(task_id)
            if claim is None:
                raise FabricError(Reason.TASK_NOT_FOUND, f"no task has the id {task_id}")
            holder_claim(claim.value, swarm_id, attempt)
            now = self._clock.now()
            credential = Credential(
                credential_id=token.credential_id,
                digest=tokens.digest(token.text),
                endpoints=endpoints,
                create_time=now,
                expire_time=now + ttl,
            )
            fresh = TaskCredentials(swarm_id=swarm_id, task_id=task_id, attempt=attempt)
            held = known.value if known and known.value.attempt == attempt else fresh
            if not rules.claimed(held, claim.value, now):
                raise FabricError(
                    Reason.STALE_ATTEMPT, f"the claim of task {task_id} has expired; stop working"
                )
            if len(held.credentials) >= MAX_CREDENTIALS:
                held = rules.with_room(held, now)
            if len(held.credentials) >= MAX_CREDENTIALS:
                raise FabricError(
                    Reason.LIMIT_REACHED,
                    f"attempt {attempt} of task {task_id} has {MAX_CREDENTIALS} credentials, as"
                    " many as it may; revoke one that is not needed: infrafabric credential revoke",
                )
            after = _with(held, (*held.credentials, credential))
            revision = 0 if known is None else known.mod_revision
            # The claim must not end meanwhile.
            same = unchanged(claim.key, claim.mod_revision)
            if await self._write(revision, after, "credential_issued", _told(credential), same):
                return Issued(after, credential, token.text)
        raise _contention(task_id)

    async def _write(
        self,
        revision: int,
        after: TaskCredentials,
        operation: str,
        details: Mapping[str, JsonValue],
        *compares: Compare,
    ) -> bool:
        task_id = after.task_id
        self._outbox.check()
        entry = self._outbox.draft(
            COMPONENT,
            operation,
            swarm_id=after.swarm_id,
            task_id=task_id,
            attempt=after.attempt,
            details=details,
        )
        same = unchanged(self.view.key(task_id), revision)
        put = self.view.put(task_id, after)
        result = await self._mirror.commit([same, *compares], [put, entry])
        if not result.succeeded:
            await self._mirror.caught_up(result.revision)
        return result.succeeded

    def _verdict(self, text: str, request: tuple[str, Target] | None) -> Verdict:
        credential_id = tokens.credential_id(text)
        known, credential = self._find(credential_id or "")
        # The same work whether the id is known or not, and however much of the secret is right.
        expected = _NOBODYS if credential is None else credential.digest
        proven = hmac.compare_digest(tokens.digest(text), expected)
        if credential_id is None:
            return Verdict(Denial.MALFORMED)
        if not proven or known is None or credential is None:
            return Verdict(Denial.UNKNOWN)
        held, now = known.value, self._clock.now()
        denial = rules.over(held, credential, self._tasks.get(held.task_id), now)
        if denial is None and request is not None:
            held_back = not self.allows_host(request[1].host)
            denial = Denial.HOST if held_back else rules.denied(credential, *request)
        return Verdict(denial, held, credential)

    def _find(self, credential_id: str) -> tuple[Entry[TaskCredentials] | None, Credential | None]:
        known = self.view.entry(self._task_of.get(credential_id, ""))
        credentials = () if known is None else known.value.credentials
        return known, next((c for c in credentials if c.credential_id == credential_id), None)

    def _refused(self, held: TaskCredentials | None, denial: Denial) -> None:
        swarm_id, task_id = ("", "") if held is None else (held.swarm_id, held.task_id)
        self._flood.count(
            "credential_refused", swarm_id, task_id, denial.value, component=COMPONENT
        )

    def _changed(self, change: Change[TaskCredentials]) -> None:
        for each in change.old.credentials if change.old else ():
            self._task_of.pop(each.credential_id, None)
        for each in change.new.credentials if change.new else ():
            self._task_of[each.credential_id] = change.id


def _with(held: TaskCredentials, credentials: Iterable[Credential]) -> TaskCredentials:
    return held.model_copy(update={"credentials": tuple(credentials)})


def _told(credential: Credential) -> dict[str, JsonValue]:
    """Return what the witness log has of a new credential: nothing of its secret."""
    return {
        "credential_id": credential.credential_id,
        "expire_time": credential.expire_time.isoformat(),
        "endpoints": [
            {"url": each.url, "methods": list(each.methods)} for each in credential.endpoints
        ],
    }


def _contention(what: str) -> FabricError:
    return FabricError(Reason.CONTENTION, f"{what} changes too fast; try again", retry_after=0.1)
