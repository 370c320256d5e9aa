"""Decides on the HTTP requests of guests: a credential allows them, and addresses are checked."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from infrafabric_server.chassis.credentials.credentials import Credentials
from infrafabric_server.chassis.credentials.models import Denial, Endpoint
from infrafabric_server.chassis.credentials.urls import literal
from infrafabric_server.chassis.egress.addresses import Address, reachable
from infrafabric_server.chassis.egress.requests import (
    GuestRequest,
    NotARequest,
    read_request,
)
from infrafabric_server.chassis.egress.sending import Sender
from infrafabric_server.chassis.sandbox.host import CallFailed
from infrafabric_server.store.protocol import StoreClosed, StoreError

# From the question whether it is allowed to the end of the answer.
LIMIT_SECONDS = 10.0
# The claim ends it long before: no run takes longer than an hour, and what comes before it minutes.
_GRANTED = timedelta(hours=2)
# Addresses of one host that are tried.
_MOST_ADDRESSES = 3

Resolve = Callable[[str], Awaitable[Sequence[Address]]]

_WHY = {
    Denial.NOT_ISSUED: "no credential that is valid was issued for this attempt of the task",
    Denial.CLAIM_ENDED: "the claim of the task has ended",
    Denial.ENDPOINT: "no credential of this attempt is for this endpoint",
    Denial.HOST: "the policy does not allow this host (chassis.allowed_hosts)",
    Denial.METHOD: "the credential for this endpoint does not allow this method",
}


class Egress:
    """The only way out for guests."""

    def __init__(
        self,
        credentials: Credentials,
        resolve: Resolve,
        sender: Sender,
        *,
        limit: float = LIMIT_SECONDS,
    ) -> None:
        """Connect.

        Args:
            credentials: tell what an attempt may reach.
            resolve: returns the addresses of a host.
            sender: makes the requests that are allowed.
            limit: seconds that a request may take altogether.
        """
        self._credentials = credentials
        self._resolve = resolve
        self._sender = sender
        self._limit = limit

    async def grant(
        self, swarm_id: str, task_id: str, attempt: int, endpoints: tuple[Endpoint, ...]
    ) -> None:
        """Issue what a contract grants each attempt; nobody sees the token.

        What the policy does not allow any more is left out. Raises what Credentials.issue raises.
        """
        allowed = tuple(each for each in endpoints if self._credentials.allows_host(each.host))
        if allowed:
            await self._credentials.issue(swarm_id, task_id, attempt, _GRANTED, allowed)

    async def request(self, swarm_id: str, task_id: str, attempt: int, body: bytes) -> bytes:
        """Make a request for an attempt of a task, and return the answer.

        Raises CallFailed: it is no request, is not allowed, or did not get a whole answer.
        """
        try:
            asked = read_request(body)
        except NotARequest as error:
            raise CallFailed(f"http: {error}") from None
        try:
            async with asyncio.timeout(self._limit):
                await self._check(swarm_id, task_id, attempt, asked)
                return await self._sender.send(asked, await self._addresses(asked.target.host))
        except TimeoutError:
            raise CallFailed(f"http: no whole answer within {self._limit:g} s") from None

    async def _check(self, swarm_id: str, task_id: str, attempt: int, asked: GuestRequest) -> None:
        try:
            denial = await self._credentials.allowed(
                swarm_id, task_id, attempt, asked.method, asked.target
            )
        except StoreClosed:
            raise
        except StoreError:
            raise CallFailed("http: the store does not tell what is allowed; try again") from None
        if denial is not None:
            raise CallFailed(f"http: {_WHY[denial]}")

    async def _addresses(self, host: str) -> Sequence[Address]:
        """Return where to connect: what is checked here is where the request goes."""
        address = literal(host)
        try:
            found = [address] if address is not None else await self._resolve(host)
            return reachable(host, found)[:_MOST_ADDRESSES]
        except OSError:
            raise CallFailed("http: the host has no address that could be found") from None
        except ValueError as error:
            raise CallFailed(f"http: {error}") from None
