"""Which claims a session holds, and whether a delivery is news."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from infrafabric.v1 import session_server_pb2

# A delivery that was under way when its claim ended arrives within one round trip; 1,000
# ended claims are many times what one stream carries in that time.
_REMEMBERED = 1_000

Claim = tuple[str, int]


class News(Enum):
    """What a delivery means to a session that may have seen the claim before."""

    NEW = auto()
    RETURNED = auto()
    KNOWN = auto()


@dataclass(slots=True)
class _Held:
    attempt: int
    parked: bool
    ending: bool = False


class Holdings:
    """The claims of one session, by task; a claim is a task id with its attempt."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._ended: OrderedDict[Claim, None] = OrderedDict()

    @property
    def active(self) -> int:
        """How many claims take a slot: all but the parked ones."""
        return sum(not held.parked for held in self._held.values())

    def holds(self, task_id: str, attempt: int) -> bool:
        """Tell whether this claim is held."""
        held = self._held.get(task_id)
        return held is not None and held.attempt == attempt

    def lasting(self) -> list[Claim]:
        """Return the claims whose end was not asked for."""
        return [(name, held.attempt) for name, held in self._held.items() if not held.ending]

    def take(self, task_id: str, attempt: int, *, parked: bool) -> tuple[News, Claim | None]:
        """Note a delivery; tell whether it is news, and which older claim it replaces."""
        held = self._held.get(task_id)
        if (task_id, attempt) in self._ended or (held and held.attempt > attempt):
            return News.KNOWN, None
        if held and held.attempt == attempt:
            returned = held.parked and not parked
            held.parked = parked
            return (News.RETURNED if returned else News.KNOWN), None
        replaced = (task_id, held.attempt) if held else None
        if replaced:
            self._remember(replaced)
        self._held[task_id] = _Held(attempt, parked)
        return News.NEW, replaced

    def park(self, task_id: str, attempt: int) -> None:
        """Note that the claim is parked and its slot free."""
        if self.holds(task_id, attempt):
            self._held[task_id].parked = True

    def begin_end(self, task_id: str, attempt: int) -> bool:
        """Note that the end of a claim was asked for; False when it is not held.

        Until the answer comes, the server's list of what is owned may or may not have it.
        """
        if not self.holds(task_id, attempt):
            return False
        self._held[task_id].ending = True
        return True

    def keep(self, task_id: str, attempt: int) -> None:
        """Note that the end of a claim was refused, so that it is held as before."""
        if self.holds(task_id, attempt):
            self._held[task_id].ending = False

    def end(self, task_id: str, attempt: int) -> bool:
        """Forget a claim that ended; False when it was not held."""
        if not self.holds(task_id, attempt):
            return False
        del self._held[task_id]
        self._remember((task_id, attempt))
        return True

    def reconcile(self, owned: Iterable[session_server_pb2.Holding]) -> list[Claim]:
        """Compare with the server's full list; forget and return what is lost.

        A claim whose end was asked for is left alone: the answer decides.
        """
        truth = {holding.task_id: holding for holding in owned}
        lost: list[Claim] = []
        for task_id, held in list(self._held.items()):
            holding = truth.get(task_id)
            if holding is not None and holding.attempt == held.attempt:
                # A parked claim becomes active by its returned frame alone, which may be on
                # its way: the owner has to be told, not only this table.
                held.parked = held.parked or holding.parked
            elif not held.ending:
                self.end(task_id, held.attempt)
                lost.append((task_id, held.attempt))
        return lost

    def _remember(self, claim: Claim) -> None:
        self._ended[claim] = None
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
