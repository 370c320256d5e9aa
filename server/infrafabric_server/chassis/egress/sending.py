"""Makes one HTTP request at addresses that were checked, and reads the answer within bounds."""

import ssl
from collections.abc import Callable, Sequence
from functools import cached_property

import httpx

from infrafabric_server.chassis.egress.addresses import Address
from infrafabric_server.chassis.egress.requests import (
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    GuestRequest,
    write_answer,
)
from infrafabric_server.chassis.sandbox.host import CallFailed

# The caller bounds the whole; a host that does not take connections leaves time for the next.
_CONNECT_SECONDS = 3.0
_SILENCE_SECONDS = 30.0


class Sender:
    """Sends requests to addresses, whatever a name would lead to by now.

    Redirects are not followed, nothing is kept from one request to the next, and neither proxies
    nor passwords come from the environment of the service.
    """

    def __init__(
        self, authorities: Callable[[], ssl.SSLContext] = ssl.create_default_context
    ) -> None:
        """Take what returns whose certificates are believed; called once, when needed."""
        self._authorities = authorities

    @cached_property
    def _believed(self) -> ssl.SSLContext:
        return self._authorities()

    async def send(self, asked: GuestRequest, addresses: Sequence[Address]) -> bytes:
        """Make a request at the first address that takes the connection.

        Raises CallFailed: there was no whole answer within the bounds.
        """
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
        timeout = httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS).as_dict()
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
