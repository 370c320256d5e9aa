"""How every call is made: with a deadline, its failure as one of ours, at whichever server can."""

import asyncio
import random as randomness
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, TypeVar

import grpc

from infrafabric import backoff, failover
from infrafabric.errors import TryAgain, Unreachable
from infrafabric.refusals import from_rpc_error
from infrafabric.servers import Server, Servers

Request = TypeVar("Request", bound=failover.Request)
Response = TypeVar("Response")

# A call of one of the services, at a server.
Unary = Callable[[Server], grpc.aio.UnaryUnaryMultiCallable[Request, Response]]
Streamed = Callable[[Server], grpc.aio.UnaryStreamMultiCallable[Request, Response]]
Sent = Callable[[Server], grpc.aio.StreamUnaryMultiCallable[Request, Response]]

# The most that the contract allows in one page.
PAGE_SIZE = 1_000


class _PageRequest(failover.Request, Protocol):
    page_size: int
    page_token: str


class _Page(Protocol):
    next_page_token: str


class _Event(Protocol):
    cursor: str


PageRequest = TypeVar("PageRequest", bound=_PageRequest)
Page = TypeVar("Page", bound=_Page)
Event = TypeVar("Event", bound=_Event)


@dataclass(frozen=True, slots=True)
class Calls:
    """How calls are made.

    Attributes:
        deadline: seconds after which a unary call is given up.
        sleep: waits for some seconds.
        random: returns a number in [0, 1); spreads clients over servers, and reconnections.
        clock: returns seconds that never go back.
    """

    deadline: float = 10.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = randomness.random
    clock: Callable[[], float] = time.monotonic


class Caller:
    """Makes calls, and moves to the next server when the one in use is of no use.

    Args:
        servers: where to.
        how: deadline, sleep, randomness and clock.
    """

    def __init__(self, servers: Servers, how: Calls) -> None:
        self._servers = servers
        self._how = how

    async def unary(
        self,
        method: Unary[Request, Response],
        request: Request,
        *,
        deadline: float | None = None,
    ) -> Response:
        """Make a unary call.

        It is made again at each other server, while the deadline lasts, when the failure or
        the contract says that this changes nothing twice.

        Args:
            method: the call.
            request: what to ask.
            deadline: seconds after which it is given up, if not the usual ones.

        Raises:
            FabricError: it failed.
        """
        ends = self._how.clock() + (self._how.deadline if deadline is None else deadline)
        untried = len(self._servers)
        while True:
            server = await self._servers.connected()
            untried -= 1
            left = max(0.0, ends - self._how.clock())
            try:
                return await method(server)(request, timeout=left)
            except grpc.aio.AioRpcError as error:
                failure = from_rpc_error(error)
                if failover.leaves(failure):
                    self._servers.leave(server)
                over = not untried or self._how.clock() >= ends
                if over or not failover.repeats(failure, request):
                    raise failure from error

    async def sent(
        self, method: Sent[Request, Response], requests: Iterable[Request], *, deadline: float
    ) -> Response:
        """Make a call that takes a stream of requests, at one server.

        Args:
            method: the call.
            requests: what to send.
            deadline: seconds after which it is given up.

        Raises:
            FabricError: it failed.
        """
        server = await self._servers.connected()
        try:
            return await method(server)(iter(requests), timeout=deadline)
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error)
            if failover.leaves(failure):
                self._servers.leave(server)
            raise failure from error

    async def pages(
        self, method: Unary[PageRequest, Page], request: PageRequest
    ) -> AsyncIterator[Page]:
        """Iterate over the pages of a list.

        Raises:
            FabricError: a call failed.
        """
        request.page_size = request.page_size or PAGE_SIZE
        while True:
            page = await self.unary(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def stream(
        self, method: Streamed[Request, Response], request: Request
    ) -> AsyncGenerator[Response, None]:
        """Make a call that is answered by a stream; it is cancelled when the iterator is closed.

        Raises:
            FabricError: it failed.
        """
        server = await self._servers.connected()
        call = method(server)(request)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error)
            if failover.leaves(failure):
                self._servers.leave(server)
            raise failure from error
        finally:
            call.cancel()

    async def resumed(
        self, method: Streamed[Request, Response], request: Callable[[], Request]
    ) -> AsyncGenerator[Response, None]:
        """Make such a call again and again: whenever it is cut, from where it stood.

        Args:
            method: the call.
            request: returns the request that goes on after what was handled so far.

        Raises:
            FabricError: it was refused; a cut or a passing refusal raises nothing.
        """
        failures = 0
        while True:
            asked = None
            try:
                async with aclosing(self.stream(method, request())) as responses:
                    async for response in responses:
                        failures = 0
                        yield response
            except (Unreachable, TryAgain) as error:
                asked = error.retry_after
            await self._how.sleep(backoff.wait(failures, self._how.random, asked))
            failures += 1

    async def watch(
        self,
        method: Streamed[Request, Response],
        request: Callable[[str], Request],
        events: Callable[[Response], Iterable[Event]],
        after_cursor: str,
    ) -> AsyncIterator[Event]:
        """Iterate over the events of a watch, over cuts, without end and without loss.

        Args:
            method: the call.
            request: returns the request that goes on after a cursor.
            events: returns the events of a response.
            after_cursor: cursor of the last event that was handled; empty for a snapshot.

        Raises:
            FabricError: the watch was refused.
        """
        cursor = after_cursor
        async with aclosing(self.resumed(method, lambda: request(cursor))) as responses:
            async for response in responses:
                for event in events(response):
                    cursor = event.cursor or cursor
                    yield event
