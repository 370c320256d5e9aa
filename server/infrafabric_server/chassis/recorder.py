"""Writes down how runs ended: in the witness log, for the breaker, for the service level."""

import secrets
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from infrafabric_server.chassis.contracts import COMPONENT
from infrafabric_server.chassis.models import (
    MAX_REASON,
    Execution,
    LoadedSwarm,
    Violation,
    ViolationRing,
)
from infrafabric_server.chassis.ports import Outcomes
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.governor.breaker.counting import Counting
from infrafabric_server.governor.breaker.records import Effect
from infrafabric_server.store.mirror import Mirror, Write
from infrafabric_server.store.protocol import Compare, Put, unchanged
from infrafabric_server.witness.outbox import Outbox

_MAX_TRIES = 16


@dataclass(frozen=True, slots=True)
class Run:
    """One run that has ended; `attempt` is that of the task's claim, 0 without one."""

    loaded: LoadedSwarm
    task_id: str
    attempt: int
    begun: datetime
    execution: Execution


class Recorder:
    """One transaction for each run: its witness entries, its violations and what they lead to."""

    def __init__(
        self, mirror: Mirror, outbox: Outbox, counting: Counting, outcomes: Outcomes
    ) -> None:
        self._mirror = mirror
        self._outbox = outbox
        self._counting = counting
        self._outcomes = outcomes
        self.rings = mirror.view("chassis_violations/", ViolationRing)

    async def record(self, run: Run) -> None:
        """Write down a run that belongs to a claim, which counts when the claim ends.

        Raises OUTBOX_FULL, CONTENTION, and the store's errors.
        """
        await self._write(run, counts=False, cut="")

    async def count(self, run: Run) -> None:
        """Write down a run that stands alone, and count it for its swarm."""
        async with self._counting.turn(run.loaded.swarm_id):
            await self._write(run, counts=True, cut="")

    async def cut(self, run: Run, why: str) -> None:
        """Write down a run that was cut off by no fault of the swarm."""
        await self._write(run, counts=False, cut=why)

    async def refused(self, swarm_id: str, sha256: str, size: int, why: str) -> None:
        """Write down that a module was not taken. Raises OUTBOX_FULL, and the store's errors."""
        details: dict[str, JsonValue] = {
            "module_sha256": sha256,
            "size_bytes": size,
            "reason": why[:MAX_REASON],
        }
        self._outbox.check()
        entry = self._outbox.draft(COMPONENT, "module_refused", swarm_id=swarm_id, details=details)
        await self._mirror.commit([], [entry])

    def latest(self, swarm_id: str) -> ViolationRing:
        """Return the latest violations of a swarm."""
        return self.rings.get(swarm_id) or ViolationRing()

    async def forget(self, swarm_id: str) -> None:
        """Forget the violations of a swarm; the witness log has them."""
        entry = self.rings.entry(swarm_id)
        if entry is not None:
            same = unchanged(entry.key, entry.mod_revision)
            await self._mirror.commit([same], [self.rings.delete(swarm_id)])

    async def _write(self, run: Run, *, counts: bool, cut: str) -> None:
        swarm_id = run.loaded.swarm_id
        source = f"run/{swarm_id}/{secrets.token_hex(8)}"
        for _ in range(_MAX_TRIES):
            compares, writes = self._violated(run)
            if counts:
                effect, noted = self._counted(run, source)
                compares += effect.compares
                writes += [*effect.writes, noted]
            self._outbox.check()
            result = await self._mirror.commit(compares, [*writes, *self._entries(run, cut)])
            if result.succeeded:
                return
            await self._mirror.caught_up(result.revision)
        raise FabricError(
            Reason.CONTENTION, f"swarm {swarm_id} changes too fast; try again", retry_after=0.1
        )

    def _violated(self, run: Run) -> tuple[list[Compare], list[Write]]:
        violations = run.execution.violations
        if not violations:
            return [], []
        swarm_id = run.loaded.swarm_id
        known = self.rings.entry(swarm_id)
        ring = ViolationRing() if known is None else known.value
        same = unchanged(self.rings.key(swarm_id), 0 if known is None else known.mod_revision)
        return [same], [self.rings.put(swarm_id, ring.plus(violations))]

    def _counted(self, run: Run, source: str) -> tuple[Effect, Write]:
        swarm_id, begun = run.loaded.swarm_id, run.begun
        if run.execution.succeeded:
            effect = self._counting.succeeded(swarm_id, begun, cost_micros=0, bound_micros=None)
            return effect, self._outcomes.completed(swarm_id, source, begun)
        effect = self._counting.failed(swarm_id, run.task_id, begun)
        return effect, self._outcomes.failed(swarm_id, source, begun)

    def _entries(self, run: Run, cut: str) -> list[Put]:
        execution = run.execution
        usage = execution.usage
        details: dict[str, JsonValue] = {
            "module_sha256": run.loaded.module_sha256,
            "version": run.loaded.contract.version,
            "succeeded": execution.succeeded,
            "reason": cut or execution.reason,
            "cpu_ms": round(usage.cpu_time.total_seconds() * 1000),
            "wall_ms": round(usage.wall_time.total_seconds() * 1000),
            "peak_memory_bytes": usage.peak_memory_bytes,
            "api_calls": usage.api_calls,
            "output_bytes": usage.output_bytes,
        }
        entries = [self._draft(run, "execution_cut" if cut else "task_executed", details)]
        entries += [
            self._draft(run, "limit_violated", _said(each)) for each in execution.violations
        ]
        return entries

    def _draft(self, run: Run, operation: str, details: dict[str, JsonValue]) -> Put:
        return self._outbox.draft(
            COMPONENT,
            operation,
            swarm_id=run.loaded.swarm_id,
            task_id=run.task_id,
            attempt=run.attempt,
            details=details,
        )


def _said(violation: Violation) -> dict[str, JsonValue]:
    return {
        "kind": violation.kind.value,
        "limit": violation.limit,
        "observed": violation.observed,
        "detail": violation.detail,
    }
