"""What guests reach: what their contract grants, and nothing else."""

import json
from collections.abc import Awaitable, Callable

import structlog

from infrafabric_server.chassis.contract import HTTP, KV, PROGRESS
from infrafabric_server.chassis.models import LoadedSwarm
from infrafabric_server.chassis.sandbox.host import CallDenied, CallFailed, HostFailed
from infrafabric_server.errors import FabricError
from infrafabric_server.limits import MAX_TEXT
from infrafabric_server.store.protocol import StoreClosed, StoreError

_MAX_LINE = 1_000

# Reports a milestone: percent and note.
Report = Callable[[int, str], Awaitable[None]]

# Makes an HTTP request, or one of scratch space: what it is and what is answered, as JSON.
Request = Callable[[bytes], Awaitable[bytes]]

_log = structlog.get_logger(__name__)


async def nobody(_percent: int, _note: str) -> None:
    """Take the progress of a run that is of no task."""


async def nowhere(_request: bytes) -> bytes:
    """Refuse what a run asks for that is of no task."""
    raise CallFailed("http: only a task that was claimed has credentials")


async def unkept(_request: bytes) -> bytes:
    """Refuse to keep anything for a run that is of no task: no later attempt would read it."""
    raise CallFailed("kv: only a task that was claimed has scratch space")


class GuestHost:
    """Does the calls of one run that its contract grants."""

    def __init__(
        self,
        loaded: LoadedSwarm,
        task_id: str,
        report: Report = nobody,
        request: Request = nowhere,
        scratch: Request = unkept,
    ) -> None:
        self._swarm_id = loaded.swarm_id
        self._granted = loaded.contract.allowed_calls
        self._task_id = task_id
        self._report = report
        self._request = request
        self._scratch = scratch

    async def log(self, text: str) -> None:
        """See Host."""
        # A guest may say thousands of lines a second: not for a log that nobody asked for.
        _log.debug(
            "guest_log", swarm_id=self._swarm_id, task_id=self._task_id, text=text[:_MAX_LINE]
        )

    async def call(self, name: str, body: bytes) -> bytes:
        """See Host."""
        if name not in self._granted:
            raise CallDenied(name)
        try:
            return await self._answer(name, body)
        except (CallDenied, CallFailed, StoreClosed):
            raise
        except Exception as error:
            # An error of this server, which ends one run and nothing else.
            at = {"swarm_id": self._swarm_id, "task_id": self._task_id, "call": name}
            _log.exception("host_call_failed", **at)
            raise HostFailed(
                f"the server has an error in its call {name} ({type(error).__name__}), of which its"
                " log says more"
            ) from error

    async def _answer(self, name: str, body: bytes) -> bytes:
        if name == HTTP:
            return await self._request(body)
        if name == KV:
            return await self._scratch(body)
        if name != PROGRESS:
            raise CallDenied(name)
        percent, note = _milestone(body)
        try:
            await self._report(percent, note)
        except FabricError as error:
            raise CallFailed(error.message) from error
        except StoreClosed:
            raise
        except StoreError:
            raise CallFailed("progress: the store did not answer, or is full; try again") from None
        return b"{}"


def _milestone(body: bytes) -> tuple[int, str]:
    try:
        match json.loads(body):
            case {"percent": int(percent), **rest} if percent in (0, 25, 50, 75, 100):
                note = rest.get("note", "")
                if isinstance(note, str) and len(note) <= MAX_TEXT:
                    # JSON can say half a pair of surrogates, which nothing beyond can carry.
                    note.encode()
                    return int(percent), note
    except (ValueError, RecursionError):
        pass
    raise CallFailed(
        'progress takes {"percent": 0, 25, 50, 75 or 100, "note": "at most 4096 characters"}'
    )
