"""Where a decision leaves its witness entry, in the decision's own transaction."""

from collections.abc import Mapping, Sized

from pydantic import JsonValue

from infrafabric_server.clock import Clock
from infrafabric_server.errors import FabricError, Reason
from infrafabric_server.store.protocol import Put
from infrafabric_server.witness.models import Draft

PREFIX = "outbox/"

# At 5,000 decisions a second, twenty seconds without the log's disk.
MAX_WAITING = 100_000
# A page of entries must fit in one message of 4 MiB, in which an entry appears twice.
MAX_DRAFT_CHARACTERS = 256 * 1024


class Outbox:
    """Makes the store operations that put entries into the outbox.

    An id sorts after all earlier ones of the same outbox, so that the entries of one
    transaction keep their order; the time of the start and the replica in it keep it
    unique over restarts and replicas.
    """

    def __init__(
        self, clock: Clock, replica: str, waiting: Sized, *, limit: int = MAX_WAITING
    ) -> None:
        """Take what names this process, and what is counted against the limit.

        Args:
            clock: gives each entry its time.
            replica: id of this process, different for every one that uses the store.
            waiting: the entries that are not sealed yet, normally the Sealer.
            limit: entries that may wait before new decisions are refused.
        """
        self._clock = clock
        self._waiting = waiting
        self._limit = limit
        self._prefix = f"{int(clock.now().timestamp() * 1_000_000):014x}-{replica}-"
        self._count = 0

    def check(self) -> None:
        """Raise OUTBOX_FULL when as many entries wait as may; no decision goes unrecorded."""
        waiting = len(self._waiting)
        if waiting >= self._limit:
            raise FabricError(
                Reason.OUTBOX_FULL,
                f"{waiting} decisions wait to be written to the witness log, at most"
                f" {self._limit} may; try again, and see the server's log if it lasts",
                retry_after=1.0,
            )

    def draft(
        self,
        component: str,
        operation: str,
        *,
        swarm_id: str = "",
        task_id: str = "",
        attempt: int = 0,
        details: Mapping[str, JsonValue] | None = None,
    ) -> Put:
        """Return the operation that records a decision, to be added to its transaction.

        Args:
            component: who decided, such as `coordinator`.
            operation: what was decided, such as `claim_won`.
            swarm_id: swarm that it concerns, if any.
            task_id: task that it concerns, if any.
            attempt: attempt of the task, 0 without one.
            details: what else belongs to it; the entry is at most 262,144 characters of JSON.

        Raises:
            ValueError: the entry is too long, or `details` is not JSON.
        """
        self._count += 1
        entry_id = f"{self._prefix}{self._count:010x}"
        value = Draft(
            time=self._clock.now(),
            component=component,
            operation=operation,
            swarm_id=swarm_id,
            task_id=task_id,
            attempt=attempt,
            details=dict(details or {}),
        ).model_dump_json(exclude_defaults=True)
        if len(value) > MAX_DRAFT_CHARACTERS:
            raise ValueError(
                f"the witness entry {operation} has {len(value)} characters,"
                f" at most {MAX_DRAFT_CHARACTERS} fit; put less into its details"
            )
        return Put(PREFIX + entry_id, value)
