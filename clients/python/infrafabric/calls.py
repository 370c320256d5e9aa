"""How every call is made: with a deadline, its failure as one of ours, resumed when it can be."""

import asyncio
import random as randomness
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, TypeVar

import grpc

from infrafabric import backoff
from infrafabric.errors import TryAgain, Unreachable
from infrafabric.refusals import from_rpc_error

Request = TypeVar("Request")
Response = TypeVar("Response")

# The most that the contract allows in one page.
PAGE_SIZE = 1_000


class _PageRequest(Protocol):
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
    """Makes calls.

    Attributes:
        deadline: seconds after which a unary call is given up.
        sleep: waits for some seconds.
        random: returns a number in [0, 1); spreads reconnections.
    """

    deadline: float = 10.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = randomness.random

    async def unary(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request
    ) -> Response:
        """Make a unary call.

        Raises:
            FabricError: it failed.
        """
        try:
            return await method(request, timeout=self.deadline)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def pages(
        self, method: grpc.aio.UnaryUnaryMultiCallable[PageRequest, Page], request: PageRequest
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
        self, method: grpc.aio.UnaryStreamMultiCallable[Request, Response], request: Request
    ) -> AsyncGenerator[Response, None]:
        """Make a call that is answered by a stream; it is cancelled when the iterator is closed.

        Raises:
            FabricError: it failed.
        """
        call = method(request)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()

    async def resumed(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Response],
        request: Callable[[], Request],
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
            await self.sleep(backoff.wait(failures, self.random, asked))
            failures += 1

    async def watch(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Response],
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
