"""Checks the members of an etcd cluster."""

import asyncio
import http.client
import ssl
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from grpc import aio

from infrafabric_server.clock import Clock
from infrafabric_server.doctor import (
    certificates,
    clocks,
    etcd_rules,
    latency,
    policy,
    versions,
    wire,
)
from infrafabric_server.doctor.findings import Finding, Subject
from infrafabric_server.fleet.presence import POLICIES, ReplicaPolicy
from infrafabric_server.store.etcd import rpc
from infrafabric_server.store.etcd.address import Access, EtcdAddress
from infrafabric_server.store.etcd.connection import Connection
from infrafabric_server.store.etcd.errors import Verdict, details_of, store_error, verdict
from infrafabric_server.store.etcd.layout import Layout
from infrafabric_server.store.etcd.upkeep import probe
from infrafabric_server.store.etcd.wire import etcd_pb2 as pb
from infrafabric_server.store.protocol import StoreError

_SECONDS = 3.0
# The largest transaction of a fabric has 8,192 operations, and some come around it.
TXN_OPS = 8_400
REQUEST_BYTES = 8 * 1024 * 1024
# etcd's gRPC takes messages of this much more than --max-request-bytes (v3rpc/grpc.go).
_OVERHEAD = 512 * 1024
_MARGIN = 4 * 1024
# A claim is one write: beyond the second number its p99 of 50 ms (C2) is out of reach.
_WRITE = latency.Limits(0.010, 0.040)
_READ = latency.Limits(0.005, 0.025)
# More than any fabric has.
_REPLICAS = 100
_DISK = "give etcd a disk of its own with fast syncs (NVMe), and members close to each other"


@dataclass(frozen=True, slots=True)
class Look:
    """What is needed to look at a cluster.

    `context` is ours for TLS outside gRPC; None for a cluster without. `policy_hash` is that of the
    file that a server would have.
    """

    address: EtcdAddress
    access: Access
    context: ssl.SSLContext | None
    clock: Clock
    policy_hash: str


async def examine(look: Look) -> list[Finding]:
    """Check every endpoint, then what they have in common."""
    pairs = await asyncio.gather(*(_member(look, each) for each in look.address.endpoints))
    found = [finding for findings, _ in pairs for finding in findings]
    statuses = [status for _, status in pairs if status is not None]
    subject = Subject(f"etcd {look.address.prefix}/")
    if not statuses:
        return [
            *found,
            subject.problem("cluster", "no member answers", "start etcd, or correct the address"),
        ]
    reachable = [
        endpoint
        for endpoint, (_, status) in zip(look.address.endpoints, pairs, strict=True)
        if status is not None
    ]
    connection = _connection(look, reachable)
    found += etcd_rules.agreement(subject, statuses)
    try:
        for check in (_membership, _alarms, _speed, _policies):
            found += await _asked(subject, check(subject, look, connection))
    finally:
        await connection.close()
    return found


async def _asked(subject: Subject, check: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        return await check
    except aio.AioRpcError as error:
        if verdict(error) is Verdict.DENIED:
            return [subject.note("rights", details_of(error), "look with a user that may see it")]
        text = str(store_error(error))
    except StoreError as error:
        text = str(error)
    return [subject.problem("cluster", text, "see what its members log")]


async def _member(look: Look, endpoint: str) -> tuple[list[Finding], pb.StatusResponse | None]:
    subject = Subject(f"etcd {endpoint}")
    connection = _connection(look, [endpoint])
    key = Layout(look.address.prefix).origin
    try:
        status = await connection.read(rpc.STATUS, pb.StatusRequest())
        found = [
            versions.etcd_version(subject, status.version),
            etcd_rules.leader(subject, status),
            etcd_rules.room(subject, status),
            await _operations(subject, connection, key),
            await _request_bytes(subject, connection, key),
        ]
    except (StoreError, aio.AioRpcError) as error:
        why = details_of(error) if isinstance(error, aio.AioRpcError) else str(error)
        advice = "start it, let this machine reach it, or correct address and certificates"
        return [subject.problem("reachable", why, advice)], None
    finally:
        await connection.close()
    found += await _outside(subject, look, endpoint)
    return found, status


async def _operations(subject: Subject, connection: Connection, key: bytes) -> Finding:
    request = pb.TxnRequest()
    for _ in range(TXN_OPS):
        request.success.add().request_range.key = key
    flag = f"--max-txn-ops={TXN_OPS}"
    return await _limit(subject, connection.call(rpc.TXN, request), flag, Verdict.TOO_MANY)


async def _request_bytes(subject: Subject, connection: Connection, key: bytes) -> Finding:
    # No write: one of this size raises the alarm of a quota that it would exceed.
    request = pb.RangeRequest(key=key + bytes(REQUEST_BYTES + _OVERHEAD - _MARGIN))
    flag = f"--max-request-bytes={REQUEST_BYTES}"
    return await _limit(subject, connection.call(rpc.RANGE, request), flag, Verdict.TOO_LARGE)


async def _limit(subject: Subject, asked: Awaitable[Any], flag: str, refusal: Verdict) -> Finding:
    check = flag.partition("=")[0].removeprefix("--")
    try:
        await asked
    except aio.AioRpcError as error:
        if verdict(error) is refusal:
            return subject.problem(
                check, "too small for a board of 1,000 tasks", f"start the member with {flag}"
            )
        text = f"not known ({details_of(error)})"
        return subject.note(check, text, "mend the rest first, and look again")
    return subject.ok(check, "large enough")


async def _outside(subject: Subject, look: Look, endpoint: str) -> list[Finding]:
    found = []
    try:
        if look.context is not None:
            der = await asyncio.to_thread(wire.tls_certificate, endpoint, look.context)
            end = certificates.expiry(der)
            found.append(certificates.judged(subject, "certificate", end, look.clock.now()))
        before = look.clock.now()
        told = await asyncio.to_thread(wire.http_date, endpoint, look.context)
        after = look.clock.now()
    except (OSError, ValueError, http.client.HTTPException) as error:
        text = f"not known, as it does not answer HTTP ({error})"
        return [*found, subject.note("clock", text, "look at its clock by hand")]
    if told is not None:
        second = timedelta(seconds=1)
        skew = clocks.least_skew(before, told, after, second)
        found.append(clocks.judged(subject, skew, "to a second"))
    return found


async def _membership(subject: Subject, look: Look, connection: Connection) -> list[Finding]:
    answer = await connection.read(rpc.MEMBER_LIST, pb.MemberListRequest())
    members = [member for member in answer.members if not member.isLearner]
    found = []
    count = len(members)
    text = f"{count} member{'s' if count > 1 else ''}"
    if count == 1:
        found.append(
            subject.note("members", f"{text}: its disk is the only copy", "run three members")
        )
    elif count % 2 == 0:
        advice = "add a member, or remove one"
        found.append(subject.note("members", f"{text}: no safer than {count - 1}", advice))
    else:
        found.append(subject.ok("members", text))
    if count > len(look.address.endpoints):
        found.append(
            subject.note(
                "endpoints",
                f"{len(look.address.endpoints)} of {count} members are named",
                "name all of them, so that the loss of one does not matter: "
                + ", ".join(url for member in members for url in member.clientURLs),
            )
        )
    return found


async def _alarms(subject: Subject, _look: Look, connection: Connection) -> list[Finding]:
    answer = await connection.read(rpc.ALARM, pb.AlarmRequest())
    advice = {
        pb.AlarmMember.NOSPACE: "compact, defragment every member, then `etcdctl alarm disarm`",
        pb.AlarmMember.CORRUPT: "stop the member, remove it, and add it again with an empty disk",
    }
    found = [
        subject.problem(
            "alarms",
            f"{pb.AlarmMember.AlarmType.Name(each.alarm)} at member {each.memberID:x}",
            advice.get(each.alarm, "see `etcdctl alarm list`"),
        )
        for each in answer.alarms
    ]
    return found or [subject.ok("alarms", "none")]


async def _speed(subject: Subject, look: Look, connection: Connection) -> list[Finding]:
    layout = Layout(look.address.prefix)
    read = pb.RangeRequest(key=layout.origin)
    times = await latency.sampled(lambda: connection.read(rpc.RANGE, read))
    # It goes through the log and onto the disks of a majority, and changes nothing.
    written = await latency.sampled(lambda: probe(connection, layout))
    begun = await connection.read(rpc.RANGE, read)
    return [
        latency.judged(subject, "reads", times, _READ, _DISK),
        latency.judged(subject, "writes", written, _WRITE, _DISK),
        etcd_rules.fabric(subject, look.address.prefix, begun),
    ]


async def _policies(subject: Subject, look: Look, connection: Connection) -> list[Finding]:
    span = Layout(look.address.prefix).under(POLICIES)
    request = pb.RangeRequest(key=span.start, range_end=span.end, limit=_REPLICAS)
    answer = await connection.read(rpc.RANGE, request)
    running = [ReplicaPolicy.model_validate_json(kv.value) for kv in answer.kvs]
    return [policy.agreement(subject, look.policy_hash, running)]


def _connection(look: Look, endpoints: Sequence[str]) -> Connection:
    address = replace(look.address, endpoints=tuple(endpoints))
    return Connection(address, look.access, look.clock, _SECONDS, _SECONDS)
