"""Who may ask: no web page but our own.

A server on the loopback interface is within reach of every web page that its user opens:
a page may post to http://localhost, and a name that a page controls may be made to resolve
to 127.0.0.1. A browser says where a request comes from; programs say nothing of the kind.
So a request is refused when its `Origin` is another than the `Host` it asks, when a browser
calls it cross-site, and, on the loopback interface, when its `Host` is not a loopback name.
"""

from http import HTTPStatus
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from infrafabric_server.gateway.refusals import refusal_body

_READING = ("GET", "HEAD")
_OWN_SITES = ("none", "same-origin")


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address, without a port, is this machine's own."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def objection(method: str, headers: Headers, *, loopback: bool) -> str | None:
    """Return why a request is refused, or None; `loopback` tells where the server listens."""
    host = headers.get("host")
    if loopback and host is not None and not is_loopback(_name(host)):
        return f"the Host {host!r} is not a name of this machine: ask for localhost"
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != (host or "").lower():
        return f"a page of {origin!r} may not use this server"
    if method not in _READING and headers.get("sec-fetch-site", "none") not in _OWN_SITES:
        return "another page may not use this server"
    return None


def _name(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0]
    return host.partition(":")[0]


class Guard:
    """ASGI middleware that refuses what `objection` objects to, with 403."""

    def __init__(self, app: ASGIApp, loopback: bool) -> None:
        self._app = app
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http":
            why = objection(scope["method"], Headers(scope=scope), loopback=self._loopback)
            if why is not None:
                answer = refusal_body(HTTPStatus.FORBIDDEN, "FORBIDDEN", why)
                answer.headers["connection"] = "close"
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)
