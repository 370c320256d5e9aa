"""Texts for everyone."""

import hashlib
import secrets

from pydantic import JsonValue

from infrafabric_server.clock import Clock
from infrafabric_server.coordinator.models import RequestRecord
from infrafabric_server.coordinator.requests import Requests
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.fleet.fleet import Fleet
from infrafabric_server.fleet.models import Broadcast
from infrafabric_server.store.mirror import Mirror, View, Write
from infrafabric_server.store.protocol import Compare
from infrafabric_server.witness.outbox import Outbox


class Broadcasts:
    """The use case of sending a text; sessions and watchers follow the view `broadcasts`."""

    def __init__(
        self,
        mirror: Mirror,
        fleet: Fleet,
        broadcasts: View[Broadcast],
        requests: Requests,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._mirror = mirror
        self._fleet = fleet
        self._broadcasts = broadcasts
        self._requests = requests
        self._outbox = outbox
        self._clock = clock

    async def send(self, message: str, request_id: str = "") -> int:
        """Record a text for everyone and return how many sessions are open.

        A repeat of `request_id` within 24 hours sends nothing and returns the first answer.
        Raises REQUEST_ID_REUSED, OUTBOX_FULL and the store's errors.
        """
        digest = hashlib.sha256(f"broadcast\n{message}".encode()).hexdigest()
        self._outbox.check()
        now = self._clock.now()
        sessions = len(self._fleet.sessions)
        details: dict[str, JsonValue] = {"message": message, "sessions": sessions}
        # In the order of their times, for a person who lists the store.
        broadcast_id = f"{int(now.timestamp() * 1000):013x}-{secrets.token_hex(4)}"
        compares: list[Compare] = []
        writes: list[Write] = [
            self._broadcasts.put(broadcast_id, Broadcast(message=message, send_time=now)),
            self._outbox.draft("notify", "broadcast_sent", details=details),
        ]
        if request_id:
            record = RequestRecord(digest=digest, sessions=sessions, time=now)
            compare, write = self._requests.remember(request_id, record)
            compares.append(compare)
            writes.append(write)
        result = await self._mirror.commit(compares, writes)
        if result.succeeded:
            return sessions
        # Only the request id is compared: this is a repeat.
        earlier = await self._requests.answered(request_id, digest)
        if earlier is None:
            text = f"request id {request_id} is being swept; try again"
            raise FabricError(Reason.CONTENTION, text, retry_after=0.1)
        return earlier.sessions
