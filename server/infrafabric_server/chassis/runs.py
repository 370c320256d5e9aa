"""One run of a module: its turn, its process, its end."""

import asyncio
from datetime import datetime, timedelta

import structlog

from infrafabric_server.chassis.box import Box
from infrafabric_server.chassis.models import (
    MAX_DETAIL,
    MAX_REASON,
    Execution,
    LoadedSwarm,
    Usage,
    Violation,
)
from infrafabric_server.chassis.modules import Modules
from infrafabric_server.chassis.results import NoResultError, read_result
from infrafabric_server.chassis.sandbox.host import HostCalls
from infrafabric_server.chassis.sandbox.outcome import Outcome
from infrafabric_server.clock import Clock
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.store.protocol import StoreError

_log = structlog.get_logger(__name__)


class Runs:
    """Runs modules; callers have waited for their turn before."""

    def __init__(self, modules: Modules, box: Box, policies: PolicyBook, clock: Clock) -> None:
        self._modules = modules
        self._box = box
        self._policies = policies
        self._clock = clock

    async def check(self) -> None:
        """Raise CHASSIS_CLOSED unless this server may run foreign code."""
        current = self._policies.current
        required = current.policy.chassis.required_layers
        if not required:
            return
        layers = {layer.name: layer for layer in await self._box.layers()}
        for name in required:
            layer = layers.get(name)
            if layer is None or not layer.held:
                why = "no layer has this name" if layer is None else layer.detail
                raise FabricError(
                    Reason.CHASSIS_CLOSED,
                    f"this server runs no foreign code: layer {name}, which policy {current.hash}"
                    f" requires, does not hold ({why}); see infrafabric chassis doctor",
                )

    async def run(
        self, loaded: LoadedSwarm, task_id: str, input_json: str, host: HostCalls
    ) -> Execution:
        """Run the module of a swarm, and return how it ended.

        A caller that is cancelled ends it. An error of this server fails the run, and no more than
        that: whatever a guest may bring about, others are served.

        Raises MODULE_REFUSED, MODULE_NOT_FOUND, CHASSIS_CLOSED, and the store's errors.
        """

        async def fetch() -> bytes:
            return await self._modules.read(loaded.module_sha256)

        try:
            outcome = await self._box.run(loaded, fetch, input_json.encode(), host)
        except (FabricError, StoreError):
            raise
        except Exception as error:
            _log.exception("run_failed", swarm_id=loaded.swarm_id, task_id=task_id)
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                # It came up while the run was being ended, which is what the caller waits for.
                raise asyncio.CancelledError from error
            name = type(error).__name__
            why = f"the server has an error in this run ({name}), of which its log says more"
            return Execution(succeeded=False, reason=why)
        return execution_of(outcome, task_id, self._clock.now())


def execution_of(outcome: Outcome, task_id: str, now: datetime) -> Execution:
    """Return what an outcome of the sandbox means: a result is one JSON object."""
    text, reason = "", _why(outcome)
    if not reason:
        assert outcome.result is not None
        try:
            text = read_result(outcome.result)
        except NoResultError as error:
            reason = str(error)
    used = outcome.usage
    return Execution(
        succeeded=not reason,
        result_json=text,
        reason=reason[:MAX_REASON],
        usage=Usage(
            cpu_time=timedelta(seconds=used.cpu_seconds),
            wall_time=timedelta(seconds=used.wall_seconds),
            peak_memory_bytes=used.peak_rss_bytes,
            api_calls=used.calls,
            output_bytes=used.output_bytes,
        ),
        violations=tuple(
            Violation(
                kind=each.kind,
                limit=each.limit,
                observed=each.observed,
                detail=each.detail[:MAX_DETAIL],
                task_id=task_id,
                time=now,
            )
            for each in outcome.violations
        ),
    )


def _why(outcome: Outcome) -> str:
    """Return why a guest did not do what was asked, "" when it did."""
    if outcome.violations:
        violation = outcome.violations[0]
        return f"{violation.kind}: {violation.detail}"
    said = f": {outcome.diagnostics.strip()}" if outcome.diagnostics.strip() else ""
    if outcome.trap:
        return f"it was stopped: {outcome.trap}{said}"
    if outcome.exit_code != 0 or outcome.result is None:
        return f"it ended with exit code {outcome.exit_code}{said}"
    return ""
