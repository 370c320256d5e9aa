"""G8: replicas that go by different policies are seen, by people and by what watches them."""

import asyncio
import urllib.request
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from infrafabric import Client
from infrafabric.v1.governor_policy_pb2 import GetPolicyResponse
from infrafabric_server.clock import SystemClock
from infrafabric_server.config import Settings
from infrafabric_server.doctor.examine import examine
from infrafabric_server.doctor.findings import Finding, Level
from tests.harness.cluster import Backing
from tests.harness.server import ServerProcess

FIRST, SECOND = "matching: {min_match: 0.5}", "matching: {min_match: 0.6}"


async def shown(client: Client, holds: Callable[[GetPolicyResponse], bool]) -> GetPolicyResponse:
    """Return the policy of a server, once something holds of it."""
    async with asyncio.timeout(20):
        while not holds(found := await client.policy.get()):
            pass
    return found


async def differing(server: ServerProcess) -> str:
    """Return what the server's metrics say."""

    def read() -> str:
        with urllib.request.urlopen(f"http://{server.http}/metrics") as response:
            lines: list[str] = response.read().decode().splitlines()
        (line,) = (each for each in lines if each.startswith("infrafabric_policy_differing"))
        return line.split()[-1]

    return await asyncio.to_thread(read)


async def looked(arguments: tuple[str, ...], data: Path, policy: Path) -> Finding:
    """Return what the doctor finds about policies."""
    store, bus = arguments[1], arguments[3]
    settings = Settings.load({"store": store, "bus": bus, "data": data, "policy": policy}, {})
    found = await examine(settings, {}, SystemClock(), [])
    (one,) = (each for each in found if each.check == "policies")
    return one


async def test_g8_a_policy_that_differs_between_replicas_is_seen(
    tmp_path: Path, backing: Backing
) -> None:
    arguments = backing.arguments(tmp_path.name)
    files, servers = [], []
    for number, text in enumerate((FIRST, SECOND)):
        folder = tmp_path / str(number)
        folder.mkdir()
        files.append(folder / "policy.yaml")
        files[-1].write_text(text)
        policy = ("--policy", str(files[-1]))
        servers.append(ServerProcess(folder, arguments=(*arguments, *policy)))
    one, two = servers
    hashes = [sha256(text.encode()).hexdigest() for text in (FIRST, SECOND)]
    async with one, two, Client(one.grpc) as client:
        found = await shown(client, lambda found: len(found.others) == 1)
        assert (found.policy_hash, found.others[0].policy_hash) == tuple(hashes)
        assert found.others[0].host
        assert await differing(one) == "1.0"
        assert "policies_differ" in one.log
        told = await looked(arguments, tmp_path / "0", files[0])
        assert told.level is Level.NOTE
        assert all(digest in told.text for digest in hashes)
        files[1].write_text(FIRST)
        await shown(client, lambda found: found.others[0].policy_hash == found.policy_hash)
        assert await differing(one) == "0.0"
        assert "policies_agree" in one.log
        assert (await looked(arguments, tmp_path / "0", files[0])).level is Level.OK
        await two.stop()
        await shown(client, lambda found: not found.others)
