"""Makes one HTTP request for a guest: allowed by a credential, checked, bounded, and no more."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import cached_property

import httpx

from infrafabric_server.chassis.credentials.credentials import Credentials
from infrafabric_server.chassis.credentials.models import Denial, Endpoint
from infrafabric_server.chassis.credentials.urls import literal
from infrafabric_server.chassis.egress.addresses import Address, reachable
from infrafabric_server.chassis.egress.requests import (
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    GuestRequest,
    NotARequest,
    read_request,
    write_answer,
)
from infrafabric_server.chassis.sandbox.host import CallFailed
from infrafabric_server.store.protocol import StoreClosed, StoreError

# Seconds from the request to the end of the answer, and of that to a connection.
LIMIT_SECONDS = 10.0
_CONNECT_SECONDS = 3.0
# The claim ends it long before: no run takes longer than an hour, and what comes before it minutes.
_GRANTED = timedelta(hours=2)
# Addresses of one host that are tried.
_MOST_ADDRESSES = 3

Resolve = Callable[[str], Awaitable[Sequence[Address]]]

_WHY = {
    Denial.NOT_ISSUED: "no credential that is valid was issued for this attempt of the task",
    Denial.CLAIM_ENDED: "the claim of the task has ended",
    Denial.ENDPOINT: "no credential of this attempt is for this endpoint",
    Denial.METHOD: "the credential for this endpoint does not allow this method",
}


class Egress:
    """The only way out for guests.

    Redirects are not followed, nothing is kept from one request to the next, and neither proxies
    nor passwords come from the environment of the service.
    """

    def __init__(
        self,
        credentials: Credentials,
        resolve: Resolve,
        *,
        limit: float = LIMIT_SECONDS,
        authorities: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        """Connect.

        Args:
            credentials: tell what an attempt may reach.
            resolve: returns the addresses of a host.
            limit: seconds that a request may take altogether.
            authorities: returns whose certificates are believed; called once, when needed.
        """
        self._credentials = credentials
        self._resolve = resolve
        self._limit = limit
        self._authorities = authorities

    async def grant(
        self, swarm_id: str, task_id: str, attempt: int, endpoints: tuple[Endpoint, ...]
    ) -> None:
        """Issue what a contract grants each attempt; nobody sees the token.

        Raises what Credentials.issue raises.
        """
        if endpoints:
            await self._credentials.issue(swarm_id, task_id, attempt, _GRANTED, endpoints)

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
                return await self._send(asked, await self._addresses(asked.target.host))
        except TimeoutError:
            raise CallFailed(f"http: no whole answer within {self._limit:g} s") from None

    @cached_property
    def _believed(self) -> ssl.SSLContext:
        return self._authorities()

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

    async def _send(self, asked: GuestRequest, addresses: Sequence[Address]) -> bytes:
        # Without compression no small answer gets large, and no connection is used twice.
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=0)
        async with httpx.AsyncHTTPTransport(
            verify=self._believed, trust_env=False, limits=limits
        ) as transport:
            for place in addresses:
                try:
                    response = await transport.handle_async_request(self._message(asked, place))
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    # Nothing was sent yet.
                    continue
                except (httpx.TransportError, OSError, ValueError) as error:
                    raise CallFailed(f"http: {type(error).__name__}") from None
                try:
                    return await _answer(response)
                except (httpx.TransportError, OSError) as error:
                    raise CallFailed(f"http: {type(error).__name__}") from None
                finally:
                    await response.aclose()
        raise CallFailed("http: no connection to the host, or its certificate is not believed")

    def _message(self, asked: GuestRequest, place: Address) -> httpx.Request:
        target = asked.target
        path = f"{target.path}?{target.query}" if target.query else target.path
        url = httpx.URL(
            scheme=target.scheme, host=str(place), port=target.port, raw_path=path.encode()
        )
        headers = [
            ("Host", target.authority),
            ("Connection", "close"),
            ("Accept-Encoding", "identity"),
            *asked.headers,
        ]
        timeout = httpx.Timeout(self._limit, connect=_CONNECT_SECONDS).as_dict()
        return httpx.Request(
            asked.method,
            url,
            headers=headers,
            content=asked.body or None,
            # Names the host to the server, and in the certificate that it must show.
            extensions={"timeout": timeout, "sni_hostname": target.host},
        )


async def _answer(response: httpx.Response) -> bytes:
    headers = response.headers.multi_items()
    if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        raise CallFailed(f"http: the answer has more than {MAX_HEADER_BYTES} bytes of headers")
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise CallFailed(f"http: the answer has more than {MAX_BODY_BYTES} bytes")
    return write_answer(response.status_code, headers, bytes(body))
