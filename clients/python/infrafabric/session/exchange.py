"""Connects those who ask with the answers."""

import asyncio

from infrafabric.session.events import Answered, Denied, Event, Superseded
from infrafabric.session.protocol import SessionProtocol, State
from infrafabric.session.requests import Request
from infrafabric.v1.session_client_pb2 import ClientFrame
from infrafabric.v1.session_server_pb2 import ReplyFrame

# Decisions that wait for an answer, sent or not; more callers wait for a place.
MAX_UNANSWERED = 1_000

# A report that has no answer by then is left to go out when it can: work goes on.
_REPORT_PATIENCE = 5.0


class Exchange:
    """Asks for callers, and wakes them when their answer is here.

    Attributes:
        wake: set whenever there may be something to write.
    """

    def __init__(self, protocol: SessionProtocol) -> None:
        self.wake = asyncio.Event()
        self._protocol = protocol
        self._waiting: dict[str, asyncio.Future[ReplyFrame | None]] = {}
        self._reports: set[str] = set()
        self._room = asyncio.Event()
        self._failure: BaseException | None = None

    async def decide(self, frame: ClientFrame) -> ReplyFrame:
        """Ask and wait for the answer, over cuts and refusals that pass by themselves.

        When the caller is cancelled the request goes on without it, and a claim that it
        wins is given back.

        Raises:
            FabricError: the request was refused, or the session is over.
        """
        while self._protocol.unanswered >= MAX_UNANSWERED:
            self.check()
            self._room.clear()
            await self._room.wait()
        request, answer = self._ask(frame, "")
        try:
            reply = await answer
        except asyncio.CancelledError:
            self._waiting.pop(request.request_id, None)
            self._protocol.abandon(request.request_id)
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                # The answer came in the same moment, and nobody will see it.
                self._unseen(answer.result())
            raise
        assert reply is not None, "only reports are superseded"
        return reply

    async def report(self, frame: ClientFrame, subject: str) -> ReplyFrame | None:
        """Ask, and wait for the answer only while the server is there to give it.

        Args:
            frame: the report.
            subject: what it is about; of reports that wait, the last one on a subject is sent.

        Returns:
            The answer, or None when the report waits for a connection or was replaced.

        Raises:
            FabricError: the report was refused, or the session is over.
        """
        request, answer = self._ask(frame, subject)
        if self._protocol.state is not State.OPEN:
            self._let_go(request.request_id)
            return None
        self._reports.add(request.request_id)
        try:
            async with asyncio.timeout(_REPORT_PATIENCE):
                return await answer
        except TimeoutError:
            return None
        finally:
            self._reports.discard(request.request_id)
            self._let_go(request.request_id)

    def check(self) -> None:
        """Raise what ended the session, if it has ended."""
        if self._failure is not None:
            raise self._failure

    def settle(self, event: Event) -> None:
        """Give an answer to the caller who waits for it; other events mean nothing here."""
        if not isinstance(event, Answered | Denied | Superseded):
            return
        self._room.set()
        answer = self._waiting.pop(event.request_id, None)
        if answer is None or answer.done():
            return
        match event:
            case Answered(reply=reply):
                answer.set_result(reply)
            case Denied(error=error):
                answer.set_exception(error)
            case Superseded():
                answer.set_result(None)

    def cut(self) -> None:
        """Let those go who wait for the answer to a report: it will come another time."""
        for request_id in self._reports:
            answer = self._waiting.pop(request_id, None)
            if answer is not None and not answer.done():
                answer.set_result(None)

    def end(self, failure: BaseException) -> None:
        """Fail everyone who waits, and everyone who asks from now on."""
        self._failure = failure
        self._room.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(failure)
        self._waiting.clear()

    def _ask(
        self, frame: ClientFrame, subject: str
    ) -> tuple[Request, "asyncio.Future[ReplyFrame | None]"]:
        self.check()
        request = Request(frame, subject)
        replaced = self._protocol.ask(request)
        answer = asyncio.get_running_loop().create_future()
        self._waiting[request.request_id] = answer
        for event in replaced:
            self.settle(event)
        self.wake.set()
        return request, answer

    def _unseen(self, reply: ReplyFrame | None) -> None:
        if reply is not None and reply.claim.claimed:
            self._protocol.give_back(reply.claim.task)
            self.wake.set()

    def _let_go(self, request_id: str) -> None:
        answer = self._waiting.pop(request_id, None)
        if answer is not None:
            answer.cancel()
