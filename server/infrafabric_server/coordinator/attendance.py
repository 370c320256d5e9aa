"""Which sessions at other replicas take tasks at the moment.

The store knows that a session is open, but not that its stream was cut a moment ago, that it is
out of credit, or that it did not confirm its last assignment. Its own replica knows, and tells
the others over a bus that may lose it: whoever is told nothing, or too late, assigns a task that
waits at that replica until the session takes it, or that is taken back there.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from infrafabric_server.fleet.models import SessionRecord
from infrafabric_server.store.mirror import Entry

_SECONDS = 1.0
# Resting sessions in one message; of further ones the others learn as they change.
_MOST = 4_096

_log = structlog.get_logger(__name__)


class Others(Protocol):
    """Which replicas are there."""

    def __contains__(self, replica: object) -> bool:
        """Tell whether a replica is there."""
        ...

    def follow(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the name of each replica that comes or goes."""
        ...


class Attendance:
    """Tells other replicas which sessions here rest, and knows which rest there; own `run`.

    A message is JSON: the replica, its resting sessions with their epochs, those that take tasks
    again, and whether these are all that rest.
    """

    def __init__(
        self,
        replica: str,
        others: Others | None = None,
        send: Callable[[bytes], None] | None = None,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Take which replicas are there, and what sends them all a message, if it can.

        Both are None where there are no others.
        """
        self._replica = replica
        self._others = others
        self._send = send
        self._sleep = sleep
        self._resting: dict[str, int] = {}
        self._changed: dict[str, int] = {}
        self._elsewhere: dict[str, dict[str, int]] = {}
        self._listener: Callable[[str], None] | None = None

    def follow(
        self, session_changed: Callable[[str], None], replica_changed: Callable[[str], None]
    ) -> None:
        """Tell which swarm's session elsewhere rests or rests no more, and who comes or goes."""
        self._listener = session_changed
        if self._others is not None:
            self._others.follow(replica_changed)

    def note(self, swarm_id: str, epoch: int, *, takes: bool) -> None:
        """Note whether a session here takes tasks now."""
        if self._send is None or takes is (self._resting.get(swarm_id) != epoch):
            return
        if takes:
            del self._resting[swarm_id]
        else:
            self._resting[swarm_id] = epoch
        if not self._changed:
            asyncio.get_running_loop().call_soon(self._tell_changes)
        self._changed[swarm_id] = epoch

    def forget(self, swarm_id: str) -> None:
        """Note that a session here is over."""
        self._resting.pop(swarm_id, None)

    def attends(self, session: Entry[SessionRecord]) -> bool:
        """Tell whether a session takes tasks now at the replica that has it, as far as is known."""
        replica = session.value.replica
        if self._others is None or replica == self._replica or replica not in self._others:
            return False
        resting = self._elsewhere.get(replica, {})
        return resting.get(session.value.swarm_id) != session.mod_revision

    def hear(self, message: bytes) -> None:
        """Take what another replica tells; ignore anything else."""
        try:
            said = json.loads(message)
            replica, rest, take = str(said["replica"]), dict(said["rest"]), list(said["take"])
        except (ValueError, TypeError, KeyError, RecursionError):
            _log.warning("attendance_ignored", message=repr(message[:100]))
            return
        before = self._elsewhere.get(replica, {})
        known = rest if said.get("all") is True else before | rest
        for swarm_id in take:
            known.pop(str(swarm_id), None)
        self._elsewhere[replica] = known
        if self._listener is not None:
            for swarm_id in before.keys() | known.keys():
                if before.get(swarm_id) != known.get(swarm_id):
                    self._listener(swarm_id)

    async def run(self) -> None:
        """Tell every second which sessions rest, for those who missed a change."""
        while self._send is not None and self._others is not None:
            rest = dict(list(self._resting.items())[:_MOST])
            self._tell(rest, [], complete=len(rest) == len(self._resting))
            for replica in [each for each in self._elsewhere if each not in self._others]:
                del self._elsewhere[replica]
            await self._sleep(_SECONDS)

    def _tell_changes(self) -> None:
        changed, self._changed = self._changed, {}
        rest = {each: epoch for each, epoch in changed.items() if each in self._resting}
        self._tell(rest, [each for each in changed if each not in rest], complete=False)

    def _tell(self, rest: dict[str, int], take: list[str], *, complete: bool) -> None:
        if self._send is not None:
            said = {"replica": self._replica, "rest": rest, "take": take, "all": complete}
            self._send(json.dumps(said).encode())
