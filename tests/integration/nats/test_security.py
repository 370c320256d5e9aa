"""Who is let in, over what, and what is told to whom."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrafabric_server.bus.address import NatsAccess
from tests.harness.bus import Heard, acquainted, opened
from tests.harness.certificates import make_certificates
from tests.harness.nats import Nats
from tests.integration.nats.kit import check_talks, first_reason, over_tls, refusal, watched
from tests.integration.nats.tokens import Operator

_PASSWORD = "correct-horse"
_USERS = f'authorization {{ user: fabric, password: "{_PASSWORD}" }}'


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


def _tls(certificates: Path, more: str = "") -> str:
    return (
        f'tls {{ cert_file: "{certificates / "server.pem"}", key_file: "'
        f'{certificates / "server.key"}", ca_file: "{certificates / "ca.pem"}"{more} }}'
    )


@pytest.fixture
def trusting(certificates: Path) -> NatsAccess:
    return NatsAccess.load({}, tls=True, ca_file=certificates / "ca.pem")


@pytest.fixture
def known(certificates: Path) -> NatsAccess:
    return NatsAccess.load(
        {},
        tls=True,
        ca_file=certificates / "ca.pem",
        certificate_file=certificates / "client.pem",
        key_file=certificates / "client.key",
    )


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Nats]:
    with Nats(tmp_path, settings=[_USERS]) as nats:
        yield nats


async def test_tls_with_an_authority_of_ones_own(
    tmp_path: Path, certificates: Path, trusting: NatsAccess
) -> None:
    with Nats(tmp_path, settings=[_tls(certificates)]) as nats:
        await check_talks(over_tls(nats.address), trusting)
        stranger = NatsAccess.load({}, tls=True)
        assert "certificate verify failed" in await refusal(over_tls(nats.address), stranger)
        assert "certificate verify failed" in await refusal(nats.address)


async def test_mutual_tls(
    tmp_path: Path, certificates: Path, trusting: NatsAccess, known: NatsAccess
) -> None:
    with Nats(tmp_path, settings=[_tls(certificates, ", verify: true")]) as nats:
        await check_talks(over_tls(nats.address), known)
        async with watched(over_tls(nats.address), trusting) as (bus, logs):
            await first_reason(logs)
            assert not bus.connected


async def test_tls_where_it_is_an_offer_only(
    tmp_path: Path, certificates: Path, trusting: NatsAccess
) -> None:
    with Nats(tmp_path, settings=[_tls(certificates), "allow_non_tls: true"]) as nats:
        async with opened(over_tls(nats.address), trusting):
            (connection,) = await asyncio.to_thread(nats.connections)
        assert connection["tls_version"] == "1.3"


async def test_no_password_is_told_to_a_server_without_tls() -> None:
    """Whoever is on the way can take the offer of TLS out of the server's first word."""
    told = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"max_payload":1048576,"auth_required":true,"headers":true}\r\n')
        told.extend(await reader.read())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        access = NatsAccess(user="fabric", password=_PASSWORD)
        assert "does not offer TLS" in await refusal(f"tls://127.0.0.1:{port}", access)
        server.close()
        await server.wait_closed()
    assert told == b""


async def test_a_user_and_a_password(guarded: Nats) -> None:
    await check_talks(guarded.address, NatsAccess(user="fabric", password=_PASSWORD))
    assert "refuses our user" in await refusal(guarded.address)


async def test_a_wrong_password_is_tried_until_it_is_right(tmp_path: Path) -> None:
    """The operator of NATS may change it there; the fabric works without the bus meanwhile."""
    access = NatsAccess(user="fabric", password="not-yet-right")
    nats = Nats(tmp_path, settings=[_USERS])
    with nats:
        async with watched(nats.address, access) as (bus, logs):
            assert "refuses our user" in await first_reason(logs)
            bus.publish("s", b"lost")
            assert (bus.connected, bus.counts.dropped) == (False, 1)
            nats.kill()
            nats.set(_USERS.replace(_PASSWORD, "not-yet-right"))
            nats.start()
            async with asyncio.timeout(20):
                await bus.ready()
    assert "not-yet-right" not in f"{logs}{access}{bus}"


async def test_a_file_of_credentials(tmp_path: Path) -> None:
    ours, foreign = Operator(), Operator()
    files = [tmp_path / "ours.creds", tmp_path / "foreign.creds"]
    for operator, file in zip((ours, foreign), files, strict=True):
        operator.credentials(file)
    access, other = (NatsAccess.load({}, credentials_file=file) for file in files)
    with Nats(tmp_path, settings=ours.settings) as nats:
        await check_talks(nats.address, access)
        assert "refuses our user" in await refusal(nats.address, other)
    assert access.credentials not in repr(access)


async def test_what_is_not_permitted_is_logged_and_harms_nothing_else(tmp_path: Path) -> None:
    permitted = '{ publish: "s", subscribe: ["s", "_INBOX.>"] }'
    users = f"authorization {{ users: [ {{ user: a, password: b, permissions: {permitted} }} ] }}"
    access = NatsAccess(user="a", password="b")
    with Nats(tmp_path, settings=[users]) as nats:
        async with (
            watched(nats.address, access) as (bus, logs),
            opened(nats.address, access) as other,
        ):
            heard = Heard(other, "s")
            await bus.ready()
            bus.publish("forbidden", b"")
            assert 'publish to "forbidden"' in await first_reason(logs)
            await acquainted(bus, heard, subject="s")
            assert bus.counts.connections == 1
