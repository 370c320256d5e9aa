"""Several servers of one fabric on etcd and NATS, each with connections of its own to both."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.etcd import Etcd
from tests.harness.nats import Nats
from tests.harness.proxy import Proxy
from tests.harness.server import ServerProcess
from tests.integration.fire.disk import FailingDisk
from tests.robustness.faults.clock import ClockJump, SkewedClock, clock_wrapper
from tests.robustness.faults.disk import SpoiledDisk
from tests.robustness.faults.etcd import QUOTA, etcd_faults
from tests.robustness.faults.fault import Fault
from tests.robustness.faults.nats import nats_faults
from tests.robustness.faults.network import network_faults, proxy_faults
from tests.robustness.faults.servers import server_faults
from tests.robustness.history import Recorder
from tests.robustness.setups.server import TIMES, Server


@dataclass(frozen=True, slots=True)
class Distributed:
    """The set-up; see `Setup`."""

    servers: Sequence[Server]
    faults: dict[str, Fault]


@asynccontextmanager
async def distributed(
    folder: Path, recorder: Recorder, *, replicas: int = 2, members: int = 1
) -> AsyncIterator[Distributed]:
    """Run several servers.

    Args:
        folder: for their data and logs; it must exist.
        recorder: told when a server dies.
        replicas: how many servers.
        members: how many members etcd has.
    """
    async with AsyncExitStack() as stack:
        folders = [folder / f"server-{n}" for n in range(replicas)]
        for each in folders:
            each.mkdir()
        etcd = Etcd(folder, members=members, arguments=[f"--quota-backend-bytes={QUOTA}"])
        nats = Nats(folder)
        stack.callback(etcd.kill)
        stack.callback(nats.kill)
        await asyncio.to_thread(etcd.start)
        await asyncio.to_thread(nats.start)
        parts = [await _replica(stack, each, etcd, nats) for each in folders]
        servers = [
            await stack.enter_async_context(Server(f"server-{n}", part.process, recorder))
            for n, part in enumerate(parts)
        ]
        store_links = [proxy for part in parts for proxy in part.store_links]
        bus_links = [part.bus_link for part in parts]
        faults: dict[str, Fault] = {
            **server_faults(servers),
            **network_faults(servers),
            **etcd_faults(etcd),
            **nats_faults(nats),
            **proxy_faults("store-", store_links, "store links"),
            **proxy_faults("bus-", bus_links, "bus links"),
            "disk-failing": SpoiledDisk(servers, FailingDisk()),
        }
        clocks = [part.clock for part in parts if part.clock]
        if clocks:
            faults["clock-jump"] = ClockJump(clocks)
        yield Distributed(servers, faults)


@dataclass(frozen=True, slots=True)
class _Replica:
    process: ServerProcess
    store_links: Sequence[Proxy]
    bus_link: Proxy
    clock: SkewedClock | None


async def _replica(stack: AsyncExitStack, folder: Path, etcd: Etcd, nats: Nats) -> _Replica:
    clock = clock_wrapper(folder / "clock")
    store_links = [
        await stack.enter_async_context(Proxy(member.endpoint)) for member in etcd.members
    ]
    bus_link = await stack.enter_async_context(Proxy(f"127.0.0.1:{nats.port}"))
    endpoints = ",".join(link.address for link in store_links)
    process = ServerProcess(
        folder,
        arguments=("--store", f"etcd://{endpoints}/fabric", "--bus", f"nats://{bus_link.address}"),
        environment={**TIMES, **(clock.environment if clock else {})},
    )
    return _Replica(process, store_links, bus_link, clock)
