"""X3, X6: what guests reach over HTTP, and what they do not, at a real server."""

import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infrafabric_server.chassis.credentials import urls
from infrafabric_server.chassis.credentials.credentials import Credentials
from infrafabric_server.chassis.credentials.models import Endpoint
from infrafabric_server.chassis.egress.addresses import Address
from infrafabric_server.chassis.egress.egress import Egress
from infrafabric_server.chassis.egress.requests import NotARequest, read_request, write_answer
from infrafabric_server.chassis.egress.resolving import Resolver
from infrafabric_server.chassis.egress.sending import Sender
from infrafabric_server.chassis.sandbox.host import CallFailed
from infrafabric_server.coordinator.models import Dispatch, TaskSpec
from infrafabric_server.governor.policy.book import PolicyBook
from infrafabric_server.governor.policy.models import Containing, Policy
from infrafabric_server.governor.policy.verdicts import effective
from infrafabric_server.store.memory import MemoryStore
from infrafabric_server.witness.outbox import Outbox
from tests.harness.certificates import make_certificates
from tests.harness.fabric import Fabric, running_fabric
from tests.harness.webhook import endless, raw, receiving, silence

OK = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nX-A: 2\r\n\r\nhello")
TTL = timedelta(minutes=5)


@pytest.fixture
async def fabric() -> AsyncIterator[Fabric]:
    """Return a fabric in which the swarm `s` holds the task `t`."""
    store = await MemoryStore.open()
    async with running_fabric(store) as running:
        await running.join("s")
        spec = TaskSpec(task_id="t", create_time=datetime.now(UTC))
        await running.create((spec, Dispatch.MANUAL))
        assert (await running.coordinator.claims.claim_anew("s", "t", TTL)).claimed
        yield running
    await store.close()


@pytest.fixture
def policies() -> PolicyBook:
    return PolicyBook()


@pytest.fixture
def credentials(fabric: Fabric, policies: PolicyBook) -> Credentials:
    """Return the credentials of a fabric that has none yet."""
    outbox, tasks = Outbox(fabric.clock, "test", ()), fabric.coordinator.tasks
    return Credentials(fabric.mirror, tasks, outbox, fabric.flood, fabric.clock, policies)


async def grant(credentials: Credentials, url: str, *methods: str) -> None:
    target = urls.read(url)
    endpoint = Endpoint(
        scheme=target.scheme,
        host=target.host,
        port=target.port,
        path=target.path,
        methods=methods or ("GET",),
    )
    await egress_of(credentials).grant("s", "t", 1, (endpoint,))


def egress_of(credentials: Credentials, *found: str, limit: float = 10.0) -> Egress:
    async def resolve(_host: str) -> Sequence[Address]:
        return [ipaddress.ip_address(each) for each in found]

    return Egress(credentials, resolve, Sender(), limit=limit)


def asks(url: str, method: str = "GET", **more: Any) -> bytes:
    return json.dumps({"method": method, "url": url, **more}).encode()


async def answered(egress: Egress, body: bytes, attempt: int = 1) -> Any:
    return json.loads(await egress.request("s", "t", attempt, body))


async def test_x6_a_request_is_made_as_it_was_asked_for(credentials: Credentials) -> None:
    async with receiving(OK) as there:
        await grant(credentials, there.url, "POST")
        asked = asks(
            f"{there.url}//a;b/@:!$&'()*+,=~%41?q=%20x??",
            "POST",
            text="ü",
            headers={"Authorization": "Bearer k"},
        )
        answer = await answered(egress_of(credentials), asked)
        assert answer == {
            "status": 200,
            "headers": {"content-length": "5", "x-a": "1, 2"},
            "text": "hello",
        }
        ((headers, body),) = there.requests
        assert there.lines == ["POST /hook//a;b/@:!$&'()*+,=~%41?q=%20x?? HTTP/1.1"]
        assert body == "ü".encode()
        assert set(headers) == {
            *("host", "connection", "accept-encoding", "authorization", "content-length")
        }
        assert f"http://{headers['host']}/hook" == there.url


async def test_x6_nothing_is_reached_without_a_credential_of_this_attempt(
    fabric: Fabric, credentials: Credentials
) -> None:
    async with receiving(OK) as there:
        egress = egress_of(credentials)
        with pytest.raises(CallFailed, match="no credential that is valid"):
            await answered(egress, asks(there.url))
        await grant(credentials, there.url)
        assert (await answered(egress, asks(there.url)))["status"] == 200
        with pytest.raises(CallFailed, match="does not allow this method"):
            await answered(egress, asks(there.url, "PUT"))
        for url in (f"{there.url}s", there.url.replace("/hook", "/"), "http://127.0.0.1:1/hook"):
            with pytest.raises(CallFailed, match="for this endpoint"):
                await answered(egress, asks(url))
        with pytest.raises(CallFailed, match="no credential that is valid"):
            await answered(egress, asks(there.url), attempt=2)
        await fabric.coordinator.claims.release("s", "t", 1, "")
        with pytest.raises(CallFailed, match="claim of the task has ended"):
            await answered(egress, asks(there.url))
        assert len(there.requests) == 1


async def test_x6_what_was_revoked_reaches_nothing(credentials: Credentials) -> None:
    async with receiving(OK) as there:
        await grant(credentials, there.url)
        held = credentials.view.get("t")
        assert held is not None
        assert await credentials.revoke(held.credentials[0].credential_id)
        with pytest.raises(CallFailed, match="no credential that is valid"):
            await answered(egress_of(credentials), asks(there.url))
        assert not there.requests


def allow(policies: PolicyBook, *hosts: str) -> None:
    """Have a policy come into force that allows some hosts."""
    policy = Policy(chassis=Containing(allowed_hosts=hosts))
    policies.install(effective(policy, "cafe"))


async def test_x6_a_policy_that_changes_meanwhile_holds_for_the_next_request(
    credentials: Credentials, policies: PolicyBook
) -> None:
    async with receiving(OK) as there:
        egress = egress_of(credentials)
        await grant(credentials, there.url)
        for hosts in ((), ("api.example.org",)):
            allow(policies, *hosts)
            with pytest.raises(CallFailed, match="the policy does not allow this host"):
                await answered(egress, asks(there.url))
        assert not there.requests
        allow(policies, "127.0.0.1")
        assert (await answered(egress, asks(there.url)))["status"] == 200


async def test_x6_a_run_is_granted_what_the_policy_still_allows(
    credentials: Credentials, policies: PolicyBook
) -> None:
    allow(policies, "*.example.org")
    endpoints = [
        Endpoint(scheme="https", host=host, port=443, path="/", methods=("GET",))
        for host in ("a.example.org", "example.com")
    ]
    await egress_of(credentials).grant("s", "t", 1, tuple(endpoints))
    held = credentials.view.get("t")
    assert held is not None
    assert [each.endpoints for each in held.credentials] == [(endpoints[0],)]


@pytest.mark.parametrize(
    "found", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["169.254.169.254"], []]
)
async def test_x6_a_name_does_not_lead_into_our_network(
    credentials: Credentials, found: list[str]
) -> None:
    async with receiving(OK) as there:
        url = there.url.replace("127.0.0.1", "inside.example.org")
        await grant(credentials, url)
        with pytest.raises(CallFailed, match=r"not public|no address"):
            await answered(egress_of(credentials, *found), asks(url))
        assert not there.requests


async def test_x6_names_are_looked_up_by_the_system() -> None:
    found = await Resolver().resolve("localhost")
    assert ipaddress.ip_address("127.0.0.1") in found or ipaddress.ip_address("::1") in found
    with pytest.raises(OSError, match=r"\w"):
        await Resolver().resolve("nothing.invalid")


async def test_x6_a_redirect_is_an_answer(credentials: Credentials) -> None:
    away = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with receiving(raw(away)) as there:
        await grant(credentials, there.url)
        answer = await answered(egress_of(credentials), asks(there.url))
        assert (answer["status"], answer["headers"]["location"]) == (302, "http://127.0.0.1:1/")
        assert len(there.requests) == 1


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 9_000 + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (endless(CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n"), "more than 262144 bytes"),
        (endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), "RemoteProtocolError"),
        (raw(LONG), "more than 8192 bytes of headers"),
        (raw(b"nonsense\r\n\r\n"), "RemoteProtocolError"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"), "RemoteProtocolError"),
        (raw(b""), "RemoteProtocolError"),
        (silence, "no whole answer within 0.5 s"),
    ],
    ids=["body", "headers", "long-header", "nonsense", "cut", "nothing", "silence"],
)
async def test_x6_a_bad_answer_is_bounded_in_size_and_time(
    credentials: Credentials, answer: Any, why: str
) -> None:
    async with receiving(answer) as there:
        await grant(credentials, there.url)
        limit = 0.5 if answer is silence else 30.0
        with pytest.raises(CallFailed, match=why):
            await answered(egress_of(credentials, limit=limit), asks(there.url))


async def test_x6_nobody_at_the_other_end(credentials: Credentials) -> None:
    async with receiving(OK) as there:
        url = there.url
    await grant(credentials, url)
    with pytest.raises(CallFailed, match="no connection"):
        await answered(egress_of(credentials), asks(url))


@pytest.mark.parametrize("name", ["127.0.0.1", "server.example.org", "other.example.org"])
async def test_x6_a_server_has_to_show_the_certificate_of_its_name(
    tmp_path: Path, name: str
) -> None:
    make_certificates(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    authority = partial(ssl.create_default_context, cafile=str(tmp_path / "ca.pem"))
    async with receiving(OK, tls=tls) as there:
        url = there.url.replace("127.0.0.1", name)
        request, place = read_request(asks(url)), [ipaddress.ip_address("127.0.0.1")]
        with pytest.raises(CallFailed, match="certificate is not believed"):
            await Sender().send(request, place)
        if name == "other.example.org":
            with pytest.raises(CallFailed, match="certificate is not believed"):
                await Sender(authority).send(request, place)
        else:
            assert json.loads(await Sender(authority).send(request, place))["status"] == 200
            assert there.requests[0][0]["host"] == url.split("/")[2]


async def test_x6_an_address_that_takes_no_connection_leaves_the_next() -> None:
    async with receiving(OK) as there:
        places = [ipaddress.ip_address(each) for each in ("127.0.0.2", "127.0.0.1")]
        answer = json.loads(await Sender().send(read_request(asks(there.url)), places))
        assert answer["status"] == 200


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"", "Invalid JSON"),
        (b"[" * 100_000, "Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (b"{}", "method: Field required"),
        (asks("http://a/", "CONNECT"), "method"),
        (asks("http://a/", more=1), "more: Extra"),
        (asks("http://a/../b"), "url: must"),
        (asks("http://a/", headers={"Host": "b"}), r"headers\.Host"),
        (asks("http://a/", headers={"transfer-encoding": "chunked"}), r"headers\.transfer"),
        (asks("http://a/", headers={"Proxy-Connection": "x"}), r"headers\.Proxy"),
        (asks("http://a/", headers={"a b": "c"}), "headers"),
        (asks("http://a/", headers={"a": "b\r\nc: d"}), "headers"),
        (asks("http://a/", headers={f"a{n}": "x" * 4096 for n in range(3)}), "8192 bytes"),
        (asks("http://a/", headers={f"a{n}": "" for n in range(33)}), "headers"),
        (asks("http://a/", text="ü" * 200_000), "at most 262144 bytes"),
        (asks("http://a/", text="a", base64="YQ=="), "only one"),
        (asks("http://a/", base64="?"), "must be base64"),
    ],
    ids=lambda it: it[:40].decode(errors="replace") if isinstance(it, bytes) else "",
)
def test_x3_what_is_no_request_is_refused_by_its_rule(body: bytes, rule: str) -> None:
    with pytest.raises(NotARequest, match=rule):
        read_request(body)


@pytest.mark.parametrize("body", [b"\0" * 262_144, b'"' * 262_144, b"\xff" * 262_144, b"\n\r\t"])
def test_x3_every_answer_fits_into_a_frame(body: bytes) -> None:
    answer = write_answer(200, [("A", "b")], body)
    assert len(answer) < 1_000_000
    read = json.loads(answer)
    asked = {key: value for key, value in read.items() if key in ("text", "base64")}
    again = read_request(asks("http://a/", **asked)).body
    assert again == body
