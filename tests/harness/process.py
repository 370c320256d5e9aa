"""Programs that tests start, kill, stop and start again."""

import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

# Most start in less than a second on a free machine.
_START_TIMEOUT = 30.0
_LOOK = 0.02


class NotServingError(Exception):
    """A program did not start; the text ends with its log."""


class Running(ABC):
    """What runs during a `with` block."""

    @abstractmethod
    def start(self) -> None:
        """Start and return when it serves. Raises NotServingError."""

    @abstractmethod
    def kill(self) -> None:
        """End all processes at once, as a crash would. Safe to repeat."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()


class Program(ABC):
    """One process.

    Args:
        name: of the process.
        directory: for its log, `<name>.log`.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id; the process must have been started."""
        assert self._process is not None
        return self._process.pid

    @abstractmethod
    def command(self) -> list[str]:
        """Return the program and its arguments."""

    @abstractmethod
    def healthy(self) -> bool:
        """Tell whether it answers that it is healthy."""

    def start(self) -> None:
        """Start the process; `wait` tells when it serves."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait(self) -> None:
        """Return when it serves. Raises NotServingError."""
        give_up = time.monotonic() + _START_TIMEOUT
        while not self.healthy():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise NotServingError(
                    f"{self.name} does not serve:\n{self.log.read_text()[-4000:]}"
                )
            time.sleep(_LOOK)

    def kill(self) -> None:
        """End the process at once, as a crash would. Safe to repeat."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stop the process where it is (SIGSTOP): its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
