"""Violations of the policy: single events, kept for a while so that one incident covers many."""

import asyncio
from datetime import timedelta

import structlog

from infrafabric_server.clock import Clock
from infrafabric_server.fleet.leadership import Leadership
from infrafabric_server.governor.escalation.models import Broken, Cause, Kind
from infrafabric_server.governor.models import Violation
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import StoreClosed, StoreError, unchanged

PREFIX = f"{Kind.POLICY}:"

# A violation is over when its rule has not been broken for so long.
QUIET = timedelta(hours=1)
# A rule may be broken a thousand times a second; it is written at most this often.
_FRESH = timedelta(minutes=1)
_SWEEP_SECONDS = 60.0
_RETRY_SECONDS = 1.0
# Rules that are noted; a policy has fewer.
_MAX_RULES = 1_000

_log = structlog.get_logger(__name__)


def broken_cause(broken: Broken) -> Cause:
    """Return why a broken rule needs a person."""
    return Cause(
        kind=Kind.POLICY,
        subject=broken.rule,
        since=broken.since,
        summary=f"rule {broken.rule} of the policy kept tasks from swarms, such as"
        f" {broken.task_id} from {broken.swarm_id}: {broken.detail}",
        swarm_id=broken.swarm_id,
        task_id=broken.task_id,
    )


class Violations:
    """Notes which rules of the policy are broken: any replica does, and the leader forgets.

    Each refusal is in the witness log in any case; a crash may lose one that was not noted yet,
    and the next one is noted then.
    """

    def __init__(self, mirror: Mirror, clock: Clock, leadership: Leadership) -> None:
        """Declare the view, before the mirror starts."""
        self.view = mirror.view("violations/", Broken)
        self._mirror = mirror
        self._clock = clock
        self._leadership = leadership
        self._waiting: dict[str, Broken] = {}
        self._woken = asyncio.Event()

    def note(self, swarm_id: str, task_id: str, violation: Violation) -> None:
        """Take a violation; returns at once."""
        now = self._clock.now()
        known = self.view.get(violation.rule)
        if known is not None and now - known.time < _FRESH:
            return
        if known is None and len(self.view) + len(self._waiting) >= _MAX_RULES:
            return
        self._waiting[violation.rule] = Broken(
            rule=violation.rule,
            swarm_id=swarm_id,
            task_id=task_id,
            detail=violation.detail,
            policy_hash=violation.policy_hash,
            since=now if known is None else known.since,
            time=now,
        )
        self._woken.set()

    async def run(self) -> None:
        """Write what was noted, until cancelled; on every replica."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                rule, broken = self._waiting.popitem()
                try:
                    await self._write(broken)
                except StoreClosed:
                    raise
                except StoreError as error:
                    _log.warning("violation_not_noted", rule=rule, error=str(error))
                    self._waiting.setdefault(rule, broken)
                    await asyncio.sleep(_RETRY_SECONDS)

    async def forget(self) -> None:
        """Forget what is over, until cancelled: owned by `while_leading`."""
        while True:
            try:
                await self.sweep()
            except StoreClosed:
                raise
            except StoreError as error:
                _log.warning("violations_not_forgotten", error=str(error))
            await asyncio.sleep(_SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Forget what is over now. Raises the store's errors."""
        oldest = self._clock.now() - QUIET
        for entry in [each for each in self.view.entries() if each.value.time <= oldest]:
            compares = [unchanged(entry.key, entry.mod_revision), *self._leadership.fence()]
            await self._mirror.commit(compares, [self.view.delete(entry.id)])

    async def _write(self, broken: Broken) -> None:
        known = self.view.entry(broken.rule)
        revision = 0 if known is None else known.mod_revision
        compare = unchanged(self.view.key(broken.rule), revision)
        # When another replica was faster, its note is as good.
        await self._mirror.commit([compare], [self.view.put(broken.rule, broken)])
