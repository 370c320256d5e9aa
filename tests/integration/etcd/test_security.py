"""TLS in both directions, and users whose tokens run out."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from infrafabric_server.store.etcd import Access, EtcdOptions
from infrafabric_server.store.protocol import (
    Put,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    WatchBatch,
)
from tests.harness.certificates import make_certificates
from tests.harness.etcd import Etcd
from tests.harness.proxy import Proxy
from tests.integration.etcd.kit import HASTY, check_counted, count_up, followed, opened, through

_HURRIED = EtcdOptions(attempt=1.0, patience=2.0)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


@pytest.fixture
def secured(tmp_path: Path, certificates: Path) -> Iterator[Etcd]:
    arguments = [
        f"--cert-file={certificates / 'server.pem'}",
        f"--key-file={certificates / 'server.key'}",
        f"--trusted-ca-file={certificates / 'ca.pem'}",
        "--client-cert-auth",
    ]
    with Etcd(tmp_path, arguments=arguments, tls=True) as etcd:
        yield etcd


async def test_mutual_tls(secured: Etcd, certificates: Path) -> None:
    access = Access.load(
        {},
        ca_file=certificates / "ca.pem",
        certificate_file=certificates / "client.pem",
        key_file=certificates / "client.key",
    )
    async with opened(secured.address(), access) as store:
        await count_up(store, "k", 10)
        check_counted(await followed(store, "", 1, "k"), "k", 1)
        lease = await store.grant(1.0)
        for _ in range(20):
            await store.keepalive(lease)
            await asyncio.sleep(0.1)
    for poor in (Access(), Access(ca=access.ca)):
        with pytest.raises(StoreUnavailable):
            async with opened(secured.address(), poor, _HURRIED):
                pass


async def test_a_user_and_tokens_that_are_forgotten(etcd: Etcd) -> None:
    """Tokens live in the members' memory: a restart forgets them all."""
    for command in (
        "user add root:top", "user grant-role root root",
        "role add fabric", "role grant-permission fabric --prefix=true readwrite fabric/",
        "user add me:secret", "user grant-role me fabric", "auth enable",
    ):  # fmt: skip
        etcd.control(*command.split())
    access = Access(user="me", password="secret")
    async with opened(etcd.address(), access) as store, asyncio.TaskGroup() as group:
        watch = group.create_task(followed(store, "", 1, "end"))
        lease = await store.grant(3.0)
        await store.txn([], [Put("leased", "", lease)])
        await count_up(store, "before", 20)
        await asyncio.to_thread(etcd.kill)
        await asyncio.to_thread(etcd.start)
        await count_up(store, "k", 20)
        for _ in range(40):
            await store.keepalive(lease)
            await asyncio.sleep(0.1)
        assert await store.get("leased") is not None
        await store.health()
        await store.txn([], [Put("end", "")])
        batches = await watch
        check_counted(batches, "before", 20)
        check_counted(batches, "k", 20)
    for access in (Access(), Access(user="me", password="wrong"), Access(user="me")):
        with pytest.raises(StoreError) as refused:
            async with opened(etcd.address(), access, _HURRIED):
                pass
        assert "wrong" not in str(refused.value)
    with pytest.raises(StoreDenied):
        async with opened(etcd.address("elsewhere"), Access(user="me", password="secret")):
            pass


async def test_a_watch_that_is_not_permitted_is_refused(etcd: Etcd) -> None:
    async with opened(etcd.address(), options=HASTY) as store:
        await store.txn([], [Put("a", "1")])
        for command in ("user add root:top", "user grant-role root root", "auth enable"):
            etcd.control(*command.split())
        async with aclosing(store.watch("", 1)) as watch:
            with pytest.raises(StoreDenied):
                async with asyncio.timeout(20):
                    await anext(watch)


async def test_access_that_is_taken_away_is_told_and_can_be_given_back(etcd: Etcd) -> None:
    """Nobody has to start again whose password, role or user was changed by mistake."""
    for command in (
        "user add root:top", "user grant-role root root",
        "role add fabric", "role grant-permission fabric --prefix=true readwrite fabric/",
        "user add me:secret", "user grant-role me fabric", "auth enable",
    ):  # fmt: skip
        etcd.control(*command.split())
    async with Proxy(etcd.members[0].endpoint) as proxy, asyncio.TaskGroup() as group:
        address = through(etcd.address(), proxy.address)
        async with opened(address, Access(user="me", password="secret")) as store:
            await store.txn([], [Put("a", "1")])
            follower = store.watch("", 1)
            batches = [await anext(follower)]
            watch = group.create_task(_until("end", follower, batches))
            lease = await store.grant(30.0)
            for away, back in (
                ("user revoke-role me fabric", "user grant-role me fabric"),
                ("user delete me", "user add me:secret"),
            ):
                etcd.control("--user=root:top", *away.split())
                for call in (
                    store.txn([], [Put("a", "2")]),
                    store.get("a"),
                    store.range(""),
                    store.revision(),
                    store.health(),
                ):
                    with pytest.raises(StoreDenied, match="etcd denies our user"):
                        await call
                # The watch, which nobody had asked again, comes back and is denied.
                proxy.cut()
                with pytest.raises(StoreDenied):
                    await store.get("a")
                assert not watch.done()
                etcd.control("--user=root:top", *back.split())
            etcd.control("--user=root:top", "user", "grant-role", "me", "fabric")
            await store.keepalive(lease)
            await count_up(store, "k", 5)
            await store.txn([], [Put("end", "")])
            await watch
            check_counted(batches, "k", 5)


async def _until(
    end: str, follower: AsyncGenerator[WatchBatch, None], batches: list[WatchBatch]
) -> None:
    async with asyncio.timeout(20), aclosing(follower):
        while all(event.key != end for event in batches[-1].events):
            batches.append(await anext(follower))
