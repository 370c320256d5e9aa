"""The store on etcd against bare compare-and-swaps of etcd, interleaved in one run."""

import asyncio
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from grpc import aio
from pydantic import BaseModel, ConfigDict

from infrafabric_server.store.etcd import EtcdStore, rpc
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb
from infrafabric_server.store.folding import Decision, Folder
from infrafabric_server.store.mirror import Mirror
from infrafabric_server.store.protocol import Member, Put, TxnResult, unchanged
from tests.benchmarks.controls import Disk
from tests.benchmarks.measuring import Latency, Report, alternate, crowd
from tests.harness.etcd import Etcd

# A task as it is stored takes about as much.
_VALUE = "x" * 550
_CALLERS = 64
# As the server sets them.
_GC_THRESHOLDS = (50_000, 50, 100)

Swap = Callable[[int], Awaitable[None]]


class Bare:
    """Compare-and-swaps by grpc.aio alone, with nothing around them."""

    def __init__(self, endpoint: str) -> None:
        self._channel = aio.insecure_channel(endpoint)
        self._txn = self._channel.unary_unary(
            rpc.TXN.path, request_serializer=rpc.TXN.encode, response_deserializer=rpc.TXN.decode
        )
        self._watch: Any = self._channel.stream_stream(
            rpc.WATCH.path,
            request_serializer=rpc.WATCH.encode,
            response_deserializer=rpc.WATCH.decode,
        )
        self._watching: asyncio.Task[None] | None = None
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

    async def watch(self, prefix: bytes, seen: Callable[[bytes], None]) -> None:
        """Call `seen` with each key that changes below `prefix`, from now on."""
        call = self._watch()
        end = prefix[:-1] + bytes([prefix[-1] + 1])
        create = pb.WatchCreateRequest(key=prefix, range_end=end)
        await call.write(pb.WatchRequest(create_request=create))
        await call.read()

        async def read() -> None:
            while (response := await call.read()) is not aio.EOF:
                for event in response.events:
                    seen(event.kv.key)

        self._watching = asyncio.create_task(read())

    async def close(self) -> None:
        """Close the channel, which ends the watch."""
        if self._watching is not None:
            self._watching.cancel()
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


class Account(BaseModel):
    """What is reserved; every claim here succeeds, so that a number is enough."""

    model_config = ConfigDict(frozen=True)

    taken: int = 0


class Claims:
    """Claims of tasks, which reserve something of an account as well.

    With its own account a claim is one transaction; those of one hot account are folded.
    """

    def __init__(self, store: EtcdStore) -> None:
        self._store = store
        self._mirror = Mirror(store)
        view = self._mirror.view("accounts/", Account)
        self._folder = Folder(store, self._mirror, view, Account())
        self._revisions: dict[str, int] = {}

    async def own(self, caller: int) -> None:
        """Claim with the caller's own account."""
        account, task = f"own/{caller}", f"tasks/own/{caller}"
        revision = self._revisions.get(task, 0)
        result = await self._store.txn(
            [unchanged(account, revision), unchanged(task, revision)],
            [Put(account, f'{{"taken":{revision}}}'), Put(task, _VALUE)],
        )
        self._note(task, result)

    async def hot(self, caller: int) -> None:
        """Claim with an account that all share."""
        task = f"tasks/hot/{caller}"
        member = Member([unchanged(task, self._revisions.get(task, 0))], [Put(task, _VALUE)])

        def decide(known: Account) -> Decision[Account]:
            return Decision(Account.model_construct(taken=known.taken + 1), member)

        self._note(task, await self._folder.decide("hot", decide))

    async def close(self) -> None:
        """Finish what was asked for."""
        await self._folder.close()
        await self._mirror.close()

    def _note(self, task: str, result: TxnResult) -> None:
        assert result.succeeded
        self._revisions[task] = result.revision


async def _alone(bare: Bare, port: Port, report: Report, scale: float) -> None:
    rounds = max(20, int(1000 * scale))
    alone = await alternate(rounds, partial(bare.swap, 0), partial(port.swap, 0))
    single, through = (Latency.of(seconds) for seconds in alone)
    report.figure("bare compare-and-swap, one caller", single)
    report.figure("through the port, one caller", through)
    report.aim("port p50 / bare p50", through.p50 / single.p50, 1.5)


async def _crowded(
    calls: Mapping[str, Swap], aims: Sequence[str], report: Report, scale: float
) -> None:
    each = max(5, int(40 * scale))
    seconds = dict.fromkeys(calls, 0.0)
    latencies: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        await crowd(_CALLERS, 10, call)
    for _ in range(8):
        for name, call in calls.items():
            before = time.perf_counter()
            latencies[name] += await crowd(_CALLERS, each, call)
            seconds[name] += time.perf_counter() - before
    for name, spent in seconds.items():
        rate = f"{len(latencies[name]) / spent:.0f}/s, {seconds['bare swaps'] / spent:.2f} x bare"
        report.figure(f"{name}, 64 callers", f"{Latency.of(latencies[name])}  {rate}")
    for name in aims:
        ratio = seconds["bare swaps"] / seconds[name]
        report.aim(f"{name} / bare swaps", ratio, 2.5, at_least=True)


async def _compare(etcd: Etcd, report: Report, scale: float) -> None:
    store = await EtcdStore.open(etcd.address())
    bare, port, claims = Bare(etcd.members[0].endpoint), Port(store), Claims(store)
    try:
        await _alone(bare, port, report, scale)
        calls = {
            "bare swaps": bare.swap,
            "own accounts": port.swap,
            "one hot account": claims.hot,
            "own account and task": claims.own,
        }
        # The last one writes two keys where the bare swap writes one: no aim, only a figure.
        await _crowded(calls, ["own accounts", "one hot account"], report, scale)
    finally:
        await claims.close()
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
    gc.set_threshold(*_GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(scale))
