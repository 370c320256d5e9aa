"""The servers of a run: one that stands by itself, or several replicas on etcd and NATS."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from demo.processes import Processes, RunFailedError
from demo.server import Server, start_server
from tests.harness.cluster import Backing
from tests.harness.process import Program

REPLICAS = 3
ETCD_MEMBERS = 3

# Most programs start in less than a second on a free machine.
_START_LIMIT = 30.0
_LOOK = 0.05


@dataclass(slots=True)
class Replica:
    """One server, and how it is started again.

    Attributes:
        server: the process that runs now, or ran last.
        arguments: what tells it what it stands on.
    """

    server: Server
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the process."""
        return self.server.process.name


@dataclass(frozen=True, slots=True)
class Figures:
    """What a server tells of itself: its open sessions, and whether it leads."""

    sessions: int
    leads: bool


class Fabric:
    """All servers of a run.

    Args:
        processes: where they are started.
        replicas: the servers; they run.
        lease_seconds: how long a session may be silent.
    """

    def __init__(self, processes: Processes, replicas: list[Replica], lease_seconds: float) -> None:
        self.replicas = replicas
        self._processes = processes
        self._lease_seconds = lease_seconds

    @classmethod
    async def embedded(cls, processes: Processes, data: Path, lease_seconds: float) -> "Fabric":
        """Start one server with a store of its own; raises RunFailedError."""
        server = await start_server(processes, data, lease_seconds=lease_seconds)
        return cls(processes, [Replica(server)], lease_seconds)

    @classmethod
    async def distributed(cls, processes: Processes, data: Path, lease_seconds: float) -> "Fabric":
        """Start etcd, NATS and the replicas on them; raises RunFailedError."""
        backing = Backing(data, members=ETCD_MEMBERS)
        await _start_all(processes, [*backing.etcd.members, backing.nats])
        arguments = backing.arguments("demo")
        replicas = []
        for number in range(1, REPLICAS + 1):
            name = f"replica-{number}"
            server = await start_server(
                processes, data / name, name=name, lease_seconds=lease_seconds, arguments=arguments
            )
            replicas.append(Replica(server, arguments))
        return cls(processes, replicas, lease_seconds)

    @property
    def grpc(self) -> str:
        """Addresses of all servers, as clients take them."""
        return ",".join(replica.server.grpc for replica in self.replicas)

    @property
    def http(self) -> str:
        """Address of a server that speaks HTTP; it is not the one that is killed."""
        return self.replicas[-1].server.http

    async def figures(self) -> dict[str, Figures]:
        """Return what each server that runs tells of itself, by name."""
        found = {}
        for replica in self.replicas:
            if not replica.server.process.expected_to_end:
                text = await asyncio.to_thread(_metrics, replica.server.http)
                found[replica.name] = _figures(text)
        return found

    async def restart(self, replica: Replica) -> None:
        """Start a replica again, where it was and on what it had; raises RunFailedError."""
        before = replica.server
        replica.server = await start_server(
            self._processes,
            before.data,
            name=replica.name,
            lease_seconds=self._lease_seconds,
            grpc=before.grpc,
            http=before.http,
            arguments=replica.arguments,
        )

    async def stop(self) -> None:
        """Let all servers drain and end, before what they stand on does."""
        await asyncio.gather(*(replica.server.process.stop() for replica in self.replicas))


async def _start_all(processes: Processes, programs: list[Program]) -> None:
    for program in programs:
        await processes.start(program.name, program.command())
    give_up = time.monotonic() + _START_LIMIT
    for program in programs:
        while not await asyncio.to_thread(program.healthy):
            if time.monotonic() > give_up:
                raise RunFailedError(f"{program.name} did not become ready")
            await asyncio.sleep(_LOOK)


def _metrics(http: str) -> str:
    with urlopen(f"http://{http}/metrics", timeout=5) as answer:  # our own URL
        text: bytes = answer.read()
    return text.decode()


def _figures(text: str) -> Figures:
    sessions, leads = 0, False
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            leads |= sample.name == "infrafabric_leader" and sample.value == 1
            if sample.name == "infrafabric_grpc_open_streams":
                sessions += int(sample.value) * sample.labels["method"].endswith("/OpenSession")
    return Figures(sessions, leads)
