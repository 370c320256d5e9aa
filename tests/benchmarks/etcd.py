"""The store on etcd against bare compare-and-swaps of etcd, interleaved in one run."""

import asyncio
import tempfile
import time
from functools import partial
from pathlib import Path

import uvloop
from grpc import aio

from infrafabric_server.store.etcd import EtcdStore, rpc
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb
from infrafabric_server.store.protocol import Put, unchanged
from tests.benchmarks.controls import Disk
from tests.benchmarks.measuring import Latency, Report, alternate, crowd
from tests.harness.etcd import Etcd

# A task as it is stored takes about as much.
_VALUE = "x" * 550
_CALLERS = 64


class Bare:
    """Compare-and-swaps by grpc.aio alone, with nothing around them."""

    def __init__(self, endpoint: str) -> None:
        self._channel = aio.insecure_channel(endpoint)
        self._txn = self._channel.unary_unary(
            rpc.TXN.path, request_serializer=rpc.TXN.encode, response_deserializer=rpc.TXN.decode
        )
        self._revisions: dict[int, int] = {}

    async def swap(self, caller: int) -> None:
        """Change the caller's own key from what it was."""
        key = f"bare/{caller}".encode()
        compare = pb.Compare(
            key=key, target=pb.Compare.MOD, mod_revision=self._revisions.get(caller, 0)
        )
        put = pb.RequestOp(request_put=pb.PutRequest(key=key, value=_VALUE.encode()))
        answer: pb.TxnResponse = await self._txn(pb.TxnRequest(compare=[compare], success=[put]))
        assert answer.succeeded
        self._revisions[caller] = answer.header.revision

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


class Port:
    """The same through the port of the store."""

    def __init__(self, store: EtcdStore) -> None:
        self._store = store
        self._revisions: dict[int, int] = {}

    async def swap(self, caller: int) -> None:
        """Change the caller's own key from what it was."""
        key = f"port/{caller}"
        result = await self._store.txn(
            [unchanged(key, self._revisions.get(caller, 0))], [Put(key, _VALUE)]
        )
        assert result.succeeded
        self._revisions[caller] = result.revision


async def _compare(etcd: Etcd, report: Report, scale: float) -> None:
    store = await EtcdStore.open(etcd.address())
    bare, port = Bare(etcd.members[0].endpoint), Port(store)
    try:
        await crowd(_CALLERS, 10, bare.swap)
        await crowd(_CALLERS, 10, port.swap)
        alone = await alternate(
            max(20, int(1000 * scale)), partial(bare.swap, 0), partial(port.swap, 0)
        )
        single, through = (Latency.of(seconds) for seconds in alone)
        report.figure("bare compare-and-swap, one caller", single)
        report.figure("through the port, one caller", through)
        report.aim("port p50 / bare p50", through.p50 / single.p50, 1.5)
        each = max(5, int(40 * scale))
        seconds = {"bare": 0.0, "port": 0.0}
        latencies: dict[str, list[float]] = {"bare": [], "port": []}
        for _ in range(8):
            for name, swap in (("bare", bare.swap), ("port", port.swap)):
                before = time.perf_counter()
                latencies[name] += await crowd(_CALLERS, each, swap)
                seconds[name] += time.perf_counter() - before
        for name, spent in seconds.items():
            report.figure(f"{name}, 64 callers", Latency.of(latencies[name]))
            report.figure(f"{name}, swaps a second", f"{len(latencies[name]) / spent:.0f}")
        report.aim("port / bare", seconds["bare"] / seconds["port"], 2.5, at_least=True)
    finally:
        await bare.close()
        await store.close()


async def _measure(scale: float) -> int:
    report = Report()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        disk = Disk(Path(folder))
        syncs = Latency.of([disk.sync() for _ in range(max(20, int(400 * scale)))])
        disk.close()
        report.heading("etcd: this machine's disk")
        report.figure("fdatasync of 4 KiB", syncs)
        for members in (1, 3):
            place = Path(folder) / str(members)
            place.mkdir()
            with Etcd(place, members=members) as etcd:
                report.heading(f"etcd of {members} on this machine, values of 550 bytes")
                await _compare(etcd, report, scale)
    return report.missed


def main(scale: float) -> int:
    """Run the benchmark; return how many aims were missed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(scale))
