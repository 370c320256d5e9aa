"""What `systemctl` does for the units of a guide, without systemd: starts what they say.

Run as a program by a file called `systemctl`, with the folder of the units, a folder for the state,
and the arguments. Programs live on in sessions of their own. Their confinement is left out.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

# As systemd waits for a unit to start or to stop, unless told otherwise.
_SECONDS = 90.0
_LOOK = 0.02


class Unit:
    """One service.

    Args:
        name: of the unit, with its instance.
        units: the folder with the files of units.
        state: the folder with folders of services, and what is known of running ones.
    """

    def __init__(self, name: str, units: Path, state: Path) -> None:
        self.name = name.removesuffix(".service")
        stem, at, self._instance = self.name.partition("@")
        self._text = (units / f"{stem}{at}.service").read_text().replace("\\\n", " ")
        self._state = state
        self._run = state / "run" / self.name
        self._pid_file = self._run / "pid"

    def start(self) -> None:
        """Start it as its file says; return when it is started, or done if it is a oneshot."""
        if self._running():
            return
        credentials = self._run / "credentials"
        credentials.mkdir(mode=0o700, parents=True, exist_ok=True)
        for loaded in self._all("LoadCredential"):
            name, _, path = loaded.partition(":")
            (credentials / name).write_text(Path(path).read_text())
        (folder,) = self._all("StateDirectory")
        private = self._state / "private" / folder
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        public = self._state / folder
        public.parent.mkdir(exist_ok=True)
        if not public.is_symlink():
            public.symlink_to(private)
        told = dict(each.split("=", 1) for each in self._all("Environment"))
        environment = {**os.environ, **told, "STATE_DIRECTORY": str(public)}
        kind = next(self._all("Type"))
        (command,) = map(shlex.split, self._all("ExecStart"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            if kind == "notify":
                address = self._run / "notify"
                address.unlink(missing_ok=True)
                ready.bind(str(address))
                environment["NOTIFY_SOCKET"] = str(address)
            with (self._run / "log").open("ab") as log:
                process = subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            if kind == "oneshot":
                if process.wait(_SECONDS):
                    raise SystemExit(f"{self.name} failed:\n{(self._run / 'log').read_text()}")
                return
            self._pid_file.write_text(str(process.pid))
            if kind == "notify":
                ready.settimeout(_SECONDS)
                assert b"READY=1" in ready.recv(4096)

    def stop(self) -> None:
        """Ask it to end, and return when it has."""
        if pid := self._running():
            os.kill(pid, signal.SIGTERM)
            give_up = time.monotonic() + _SECONDS
            while self._running():
                if time.monotonic() > give_up:
                    raise SystemExit(f"{self.name} does not end")
                time.sleep(_LOOK)

    def kill(self) -> None:
        """End it at once."""
        if pid := self._running():
            os.kill(pid, signal.SIGKILL)

    def _running(self) -> int:
        if not self._pid_file.exists():
            return 0
        pid = int(self._pid_file.read_text())
        # Whoever started it is gone, and maybe nobody takes notice of its end.
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                return pid
        return 0

    def _all(self, name: str) -> Iterator[str]:
        specifiers = {
            "%i": self._instance,
            "%S": str(self._state),
            "%d": str(self._run / "credentials"),
            "%%": "%",
        }
        for found in re.findall(rf"^{name}=(.*)$", self._text, re.MULTILINE):
            yield re.sub("%[iSd%]", lambda match: specifiers[match[0]], found)


def known(pattern: str, units: Path, state: Path) -> Iterator[Unit]:
    """Yield the unit of a name, or those that were started and fit a pattern."""
    if "*" not in pattern:
        yield Unit(pattern, units, state)
        return
    for run in sorted((state / "run").glob("*")):
        if fnmatch(run.name, pattern):
            yield Unit(run.name, units, state)


def main(arguments: list[str]) -> None:
    """Do what `systemctl` would."""
    units, state = Path(arguments[0]), Path(arguments[1])
    verb, *names = (each for each in arguments[2:] if each != "--now")
    for name in names:
        if name.endswith(".timer"):
            assert (units / name).exists()
            continue
        for unit in known(name, units, state):
            if verb in ("stop", "disable", "restart"):
                unit.stop()
            if verb in ("start", "enable", "restart"):
                unit.start()
            if verb == "kill":
                unit.kill()


if __name__ == "__main__":
    main(sys.argv[1:])
