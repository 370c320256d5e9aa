"""Several real servers of one fabric, on a real etcd and a real NATS.

For example::

    async with Cluster(tmp_path, replicas=3, members=3) as cluster:
        client = Client(cluster.grpc)             # any of them
        await cluster.replicas[0].kill()          # each is a ServerProcess
        cluster.backing.etcd.leader.pause()
        cluster.backing.nats.kill()
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.etcd import Etcd
from tests.harness.nats import Nats
from tests.harness.process import Running
from tests.harness.server import ServerProcess


class Backing(Running):
    """What replicas stand on: an etcd and a NATS, for any number of fabrics.

    Args:
        directory: for data and logs; it must exist.
        members: how many members the etcd cluster has.
        etcd_arguments: further arguments of every member.
    """

    def __init__(
        self, directory: Path, *, members: int = 1, etcd_arguments: Sequence[str] = ()
    ) -> None:
        self.etcd = Etcd(directory, members=members, arguments=etcd_arguments)
        self.nats = Nats(directory)

    def start(self) -> None:
        """Start both and wait until they serve."""
        self.etcd.start()
        self.nats.start()

    def arguments(self, prefix: str) -> tuple[str, ...]:
        """Return what tells a server to stand on it, as a replica of the fabric `prefix`."""
        return ("--store", str(self.etcd.address(prefix)), "--bus", self.nats.address)

    def kill(self) -> None:
        """End all processes at once, as a crash would. Safe to repeat."""
        self.nats.kill()
        self.etcd.kill()


class Cluster:
    """Replicas of one fabric, each with a folder, ports and a life of its own.

    Args:
        directory: for data and logs; it must exist.
        replicas: how many servers.
        members: how many members etcd has, when the cluster starts its own.
        backing: an etcd and a NATS that run already; they are left running.
        prefix: of the fabric's keys in etcd.
        environment: variables of the servers, to add to the tests' own.

    Attributes:
        backing: etcd and NATS.
        replicas: the servers; all run once the cluster is entered.
    """

    def __init__(
        self,
        directory: Path,
        *,
        replicas: int = 3,
        members: int = 1,
        backing: Backing | None = None,
        prefix: str = "fabric",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._owned = backing is None
        self.backing = backing or Backing(directory, members=members)
        self.replicas: list[ServerProcess] = []
        for number in range(replicas):
            folder = directory / f"replica{number}"
            folder.mkdir()
            self.replicas.append(
                ServerProcess(
                    folder, arguments=self.backing.arguments(prefix), environment=environment
                )
            )

    @property
    def grpc(self) -> str:
        """Addresses of all gRPC ports, as a client takes them."""
        return ",".join(replica.grpc for replica in self.replicas)

    async def __aenter__(self) -> Self:
        try:
            if self._owned:
                await asyncio.to_thread(self.backing.start)
            await asyncio.gather(*(replica.start() for replica in self.replicas))
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.kill()

    async def stop(self) -> list[int]:
        """Ask all replicas that run to drain and end; return their exit codes."""
        running = [replica for replica in self.replicas if replica.running]
        return list(await asyncio.gather(*(replica.stop() for replica in running)))

    async def kill(self) -> None:
        """End everything that the cluster started, as a crash does. Safe to repeat."""
        for replica in self.replicas:
            if replica.running:
                await replica.kill()
        if self._owned:
            self.backing.kill()
