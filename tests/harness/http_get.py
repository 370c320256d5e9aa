"""One GET over plain HTTP, for what harnesses ask their own servers."""

from http.client import HTTPConnection
from urllib.parse import urlsplit


def http_get(url: str, *, timeout: float) -> tuple[int, bytes]:
    """Return the status and the body of an answer.

    Args:
        url: Of a server on this machine, without TLS.
        timeout: Seconds to wait for a connection, and for each piece of the answer.

    Raises:
        OSError, HTTPException: Nothing answers, or not in HTTP.
    """
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=timeout)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
