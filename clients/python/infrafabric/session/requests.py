"""What was asked of the server and is not answered yet."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from infrafabric.v1 import session_client_pb2

_ENDS_CLAIM = frozenset({"complete", "fail", "release"})


@dataclass(slots=True)
class Request:
    """One frame that wants an answer, under the same id until it has one.

    Attributes:
        frame: the frame, with its request id.
        subject: what a report is about; a later report on the same subject replaces this
            one while it is not sent. Empty for a decision, which is never replaced.
        automatic: whether the protocol asked by itself.
        abandoned: whether the caller no longer waits for the answer.
        sent: whether the present stream has carried it.
        tries: how often it was put off.
    """

    frame: session_client_pb2.ClientFrame
    subject: str = ""
    automatic: bool = False
    abandoned: bool = False
    sent: bool = False
    tries: int = 0

    @property
    def request_id(self) -> str:
        """Id that the answer carries."""
        return self.frame.request_id

    @property
    def kind(self) -> str:
        """Name of the frame, for example `claim`."""
        return self.frame.WhichOneof("frame") or ""

    @property
    def ends_claim(self) -> bool:
        """Whether the claim ends when the request takes effect."""
        return self.kind in _ENDS_CLAIM

    @property
    def task_id(self) -> str:
        """Task that the frame names; empty for none."""
        return getattr(getattr(self.frame, self.kind), "task_id", "")

    @property
    def attempt(self) -> int:
        """Attempt of the claim that the frame is about; 0 for none."""
        return getattr(getattr(self.frame, self.kind), "attempt", 0)


class Requests:
    """Unanswered requests: which to send now, later, or again after a cut."""

    def __init__(self) -> None:
        self._pending: dict[str, Request] = {}
        self._latest: dict[str, Request] = {}
        self._unsent: deque[Request] = deque()
        self._put_off: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._pending.values())

    def add(self, request: Request) -> Request | None:
        """Queue a request; return the unsent report that it replaces, if any."""
        replaced = None
        if request.subject:
            last = self._latest.get(request.subject)
            if last is not None and not last.sent:
                replaced = self.drop(last.request_id)
            self._latest[request.subject] = request
        self._pending[request.request_id] = request
        self._unsent.append(request)
        return replaced

    def drop(self, request_id: str) -> Request | None:
        """Forget and return a request, sent or not; None when there is none with this id."""
        request = self._pending.pop(request_id, None)
        if request is not None:
            self._put_off.pop(request_id, None)
            if self._latest.get(request.subject) is request:
                del self._latest[request.subject]
        return request

    def get(self, request_id: str) -> Request | None:
        """Return the unanswered request with this id."""
        return self._pending.get(request_id)

    def put_off(self, request: Request, until: float) -> None:
        """Send a request again, not before the time `until`."""
        request.tries += 1
        request.sent = False
        self._put_off[request.request_id] = until

    def next_due(self) -> float | None:
        """Return the time at which the first request that was put off is due."""
        return min(self._put_off.values(), default=None)

    def peek(self, now: float) -> Request | None:
        """Return the request to send next, if one is due; `sent` takes it off the queue."""
        for request_id in [each for each, due in self._put_off.items() if due <= now]:
            del self._put_off[request_id]
            self._unsent.append(self._pending[request_id])
        while self._unsent and self._unsent[0].request_id not in self._pending:
            self._unsent.popleft()
        return self._unsent[0] if self._unsent else None

    def sent(self) -> None:
        """Note that the request that `peek` returned is on its way."""
        self._unsent.popleft().sent = True

    def resend_all(self) -> list[Request]:
        """Queue every request again, in the order it was made, for a new stream.

        Of several reports on one subject only the last is worth sending; the others are
        forgotten and returned.
        """
        old = [r for r in self if r.subject and self._latest[r.subject] is not r]
        for request in old:
            del self._pending[request.request_id]
        for request in self:
            request.sent = False
        self._put_off.clear()
        self._unsent = deque(self)
        return old
