"""The integration tests of the TypeScript client, with servers on etcd and NATS."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.harness import setups
from tests.harness.cluster import Backing

PACKAGE = Path(__file__).parents[3] / "clients/typescript"


@pytest.mark.timeout(180)
async def test_u2_the_typescript_client_finds_no_difference(backing: Backing) -> None:
    standing = setups.variables(backing.etcd.address().endpoints, backing.nats.address)
    process = await asyncio.create_subprocess_exec(
        *(PACKAGE / "node_modules/.bin/vitest", "run", "test/integration"),
        cwd=PACKAGE,
        env={**os.environ, **standing},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, printed.decode()
