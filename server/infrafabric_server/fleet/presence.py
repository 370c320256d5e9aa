"""Which replicas are there: each has a key on a lease, which ends soon after the replica does."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog
from pydantic import BaseModel, ConfigDict

from infrafabric_server.clock import Clock
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import (
    Compare,
    LeaseNotFound,
    Store,
    StoreClosed,
    StoreError,
    unchanged,
)

# How long a replica that has died counts as there, and sessions on it are given tasks.
LEASE_SECONDS = 5.0
_RENEWALS = 5
POLICIES = "policies/"
"""What the keys begin with that tell which policies replicas go by."""
# Wait before a store that failed is asked again.
_RETRY_SECONDS = 0.5

_log = structlog.get_logger(__name__)


class ReplicaRecord(BaseModel):
    """A replica that runs; stored under `replicas/<name>`, bound to its lease."""

    model_config = ConfigDict(frozen=True)

    start_time: datetime


class ReplicaPolicy(BaseModel):
    """The policy that a replica goes by; stored under `policies/<name>`, bound to its lease.

    `host` is the name of its machine, for people.
    """

    model_config = ConfigDict(frozen=True)

    policy_hash: str
    host: str


class Presence:
    """Says that this replica is there, and knows which others are; own `run`.

    Beside it stands which policy it goes by, in a record of its own, so that another policy makes
    no other replica of it.

    Make it before the mirror starts.
    """

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        clock: Clock,
        replica: str,
        *,
        policy: Callable[[], ReplicaPolicy],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._clock = clock
        self._replica = replica
        self._sleep = sleep
        self._policy = policy
        self._view = mirror.view("replicas/", ReplicaRecord)
        self.policies = mirror.view(POLICIES, ReplicaPolicy)

    def follow(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the name of each replica that comes or goes."""
        self._view.subscribe(lambda change: listener(change.id))

    def shown(self, replica: str) -> bool:
        """Tell whether a replica is there, and the views hold all up to where it came."""
        entry = self._view.entry(replica)
        return entry is not None and entry.mod_revision <= self._mirror.revision

    def left(self, replica: str) -> bool:
        """Tell whether a replica is gone, and the views hold all that it wrote before."""
        settled = {entry.id for entry in self._mirror.settled(self._view)}
        return replica not in self._view and replica not in settled

    def same(self, replica: str) -> Compare:
        """Return the condition that a replica has been there, or not, since it was seen so."""
        entry = self._view.entry(replica)
        return unchanged(self._view.key(replica), 0 if entry is None else entry.mod_revision)

    def __contains__(self, replica: object) -> bool:
        return replica in self._view

    def __len__(self) -> int:
        return len(self._view)

    async def run(self) -> None:
        """Be there until cancelled, and gone at once then."""
        while True:
            try:
                await self._attend()
            except LeaseNotFound:
                _log.warning("presence_expired", replica=self._replica)
            except StoreClosed:
                raise
            except StoreError as error:
                _log.warning("presence_not_written", reason=str(error))
                await self._sleep(_RETRY_SECONDS)

    async def _attend(self) -> None:
        lease = await self._store.grant(LEASE_SECONDS)
        try:
            record = ReplicaRecord(start_time=self._clock.now())
            await self._store.txn([], [self._view.put(self._replica, record, lease=lease)])
            said: ReplicaPolicy | None = None
            while True:
                now = self._policy()
                if now != said:
                    put = self.policies.put(self._replica, now, lease=lease)
                    await self._store.txn([], [put])
                    said = now
                await self._sleep(LEASE_SECONDS / _RENEWALS)
                await self._store.keepalive(lease)
        finally:
            with contextlib.suppress(StoreError):
                await self._store.revoke(lease)
