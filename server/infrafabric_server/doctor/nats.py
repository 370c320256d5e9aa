"""Checks the servers of a NATS cluster, and the place of the witness log in it."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nats.aio.client import Client
from nats.errors import Error

from infrafabric_server.bus.address import NatsAccess
from infrafabric_server.bus.connection import Connection
from infrafabric_server.clock import Clock
from infrafabric_server.doctor import certificates, clocks, latency, versions, wire
from infrafabric_server.doctor.findings import Finding, Subject
from infrafabric_server.store.protocol import StoreUnavailable
from infrafabric_server.witness.durability import Durability, durability

_SECONDS = 5.0
# A batch of sealed entries is one message; the default of NATS is this.
PAYLOAD_BYTES = 1024 * 1024
# News between replicas travel for a part of the time in which a task is to be pushed (C4).
_PING = latency.Limits(0.005, 0.025)
_LOG_ADVICE = "set `jetstream { sync_interval: always }` in the configuration of every server"


@dataclass(frozen=True, slots=True)
class Look:
    """What is needed to look at a cluster.

    `address` is the setting `bus`, `stream` the name of the witness log's stream, `replicas` how
    many copies of it are wanted, `monitors` the URLs of the servers' own HTTP pages.
    """

    address: str
    access: NatsAccess
    stream: str
    replicas: int
    monitors: tuple[str, ...]
    clock: Clock

    @property
    def endpoints(self) -> list[str]:
        """The servers as HOST:PORT."""
        return self.address.partition("://")[2].removesuffix("/").split(",")


async def examine(look: Look) -> list[Finding]:
    """Check every server, then JetStream as a client of ours sees it."""
    found: list[Finding] = []
    for endpoint in look.endpoints:
        found += await _server(look, endpoint)
    found += await _jetstream(look)
    for monitor in look.monitors:
        found.append(await _durable(monitor))
    if not look.monitors:
        found.append(
            Subject("nats").note(
                "sync_interval",
                "not known: only a server's monitoring page tells it",
                f"{_LOG_ADVICE}, and give --nats-monitor http://HOST:8222 to have it checked",
            )
        )
    return found


async def _server(look: Look, endpoint: str) -> list[Finding]:
    subject = Subject(f"nats {endpoint}")
    context: ssl.SSLContext | None = look.access.tls
    try:
        greeting = await asyncio.to_thread(wire.nats_greeting, endpoint, context)
    except (OSError, ValueError) as error:
        advice = "start it, let this machine reach it, or correct address and certificates"
        return [subject.problem("reachable", str(error), advice)]
    found = [
        versions.nats_version(subject, str(greeting.facts.get("version", ""))),
        payload(subject, int(greeting.facts.get("max_payload", 0))),
    ]
    if greeting.certificate:
        end = certificates.expiry(greeting.certificate)
        found.append(certificates.judged(subject, "certificate", end, look.clock.now()))
    try:
        async with _connected(look, endpoint) as client:
            found += await _as_client(subject, look.clock, client)
    except _NotConnectedError as error:
        advice = "correct user, password, credentials or certificates"
        found.append(subject.problem("login", str(error), advice))
    except Error as error:
        found.append(subject.problem("answers", _text(error), "see what the server logs"))
    return found


class _NotConnectedError(Exception):
    """A server takes no connection of ours; the message says why."""


@asynccontextmanager
async def _connected(look: Look, endpoint: str) -> AsyncIterator[Client]:
    secure = look.address.startswith("tls://")
    connection = Connection(secure=secure, missed=lambda: None, failed=lambda _why: None)
    try:
        try:
            async with asyncio.timeout(_SECONDS):
                await connection.establish(endpoint, look.access, "infrafabric doctor")
        except (Error, OSError, ValueError) as error:
            raise _NotConnectedError(connection.why(error)) from error
        yield connection
    finally:
        await connection.end()


async def _as_client(subject: Subject, clock: Clock, client: Client) -> list[Finding]:
    times = await latency.sampled(client.flush)
    advice = "bring servers and replicas close to each other"
    found = [latency.judged(subject, "ping", times, _PING, advice)]
    before = clock.now()
    answer = await client.request("$SYS.REQ.USER.INFO", b"", timeout=_SECONDS)
    after = clock.now()
    theirs = datetime.fromisoformat(json.loads(answer.data)["server"]["time"])
    skew = clocks.least_skew(before, theirs, after)
    return [*found, clocks.judged(subject, skew, "to the time of an answer")]


async def _jetstream(look: Look) -> list[Finding]:
    subject = Subject("nats jetstream")
    for endpoint in look.endpoints:
        try:
            async with _connected(look, endpoint) as client:
                return await _streams(subject, look, client)
        except _NotConnectedError:
            continue
        except Error as error:
            advice = "set `jetstream {}` in the configuration of every server"
            text = f"it does not answer ({_text(error)})"
            return [subject.problem("jetstream", text, f"{advice}, and let our user use it")]
    return [subject.problem("jetstream", "no server answers", "start NATS, or correct the address")]


def _text(error: Error) -> str:
    return str(error).removeprefix("nats: ") or type(error).__name__


async def _streams(subject: Subject, look: Look, client: Client) -> list[Finding]:
    account = await _api(client, "INFO")
    stream = await _api(client, f"STREAM.INFO.{look.stream}")
    if "error" in account:
        text = str(account["error"].get("description", "refused"))
        return [subject.problem("jetstream", text, "let our user's account use JetStream")]
    return [subject.ok("jetstream", "on"), witness_stream(subject, look, stream)]


def payload(subject: Subject, size: int) -> Finding:
    """Judge how large a message may be."""
    text = f"{size:,} bytes"
    if size < PAYLOAD_BYTES:
        return subject.problem("max_payload", text, f"set it to {PAYLOAD_BYTES} at least")
    return subject.ok("max_payload", text)


def witness_stream(subject: Subject, look: Look, answer: dict[str, Any]) -> Finding:
    """Judge what JetStream says of the stream that holds the witness log."""
    if "config" not in answer:
        text = f"stream {look.stream}: none yet, the first server makes it"
        return subject.ok("witness log", text)
    config = answer["config"]
    copies = int(config["num_replicas"])
    text = f"stream {look.stream}: {copies} cop{'y' if copies == 1 else 'ies'}"
    if config["storage"] != "file":
        return subject.problem("witness log", f"{text} in memory", "make it anew on disk")
    if copies < look.replicas:
        return subject.problem(
            "witness log",
            f"{text}, and {look.replicas} are wanted",
            f"`nats stream edit {look.stream} --replicas {look.replicas}`",
        )
    return subject.ok("witness log", text)


async def _durable(monitor: str) -> Finding:
    subject = Subject(f"nats {monitor}")
    try:
        return durable(subject, await durability(monitor))
    except StoreUnavailable as error:
        return subject.problem("sync_interval", str(error), "correct the URL of the monitor")


def durable(subject: Subject, told: Durability) -> Finding:
    """Judge what a server says about its disk."""
    if not told.jetstream:
        return subject.problem("sync_interval", "JetStream is off", _LOG_ADVICE)
    if told.always:
        return subject.ok("sync_interval", "always: what is acknowledged is on the disk")
    text = f"{told.interval:g} s: a power cut loses what was acknowledged since"
    return subject.problem("sync_interval", text, _LOG_ADVICE)


async def _api(client: Client, name: str) -> dict[str, Any]:
    answer = await client.request(f"$JS.API.{name}", b"", timeout=_SECONDS)
    content: dict[str, Any] = json.loads(answer.data)
    return content
