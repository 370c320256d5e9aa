"""An HTTP server that keeps what it is sent and answers what it is told to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class HttpCapture:
    """What was sent, and what to answer.

    Attributes:
        url: where the server listens.
        requests: path and decoded JSON body of each request, in order.
        code: status code of the answers.
        answer: body of the answers.
        go_on: answers wait until it is set (it is, at first).
    """

    url: str = ""
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    code: int = 200
    answer: bytes = b'{"status": "received"}'
    go_on: threading.Event = field(default_factory=threading.Event)

    @property
    def paths(self) -> list[str]:
        """The paths of all requests, in order."""
        return [path for path, _ in self.requests]

    @property
    def last(self) -> dict[str, Any]:
        """The body of the last request."""
        return self.requests[-1][1]


@contextmanager
def http_capture() -> Iterator[HttpCapture]:
    """Run a capturing server on a free port."""
    capture = HttpCapture()
    capture.go_on.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/json"
            capture.requests.append((self.path, json.loads(body.decode())))
            capture.go_on.wait()
            self.send_response(capture.code)
            self.send_header("Content-Length", str(len(capture.answer)))
            self.end_headers()
            self.wfile.write(capture.answer)

        def log_message(self, *_args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    capture.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield capture
    finally:
        capture.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()
