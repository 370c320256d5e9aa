"""Credentials of two servers: one issues and the other knows, one ends and both have ended."""

from pathlib import Path

from infrafabric import Client
from infrafabric.v1.chassis_credential_pb2 import (
    CREDENTIAL_DENIAL_CLAIM_ENDED,
    CREDENTIAL_DENIAL_REVOKED,
    CredentialEndpoint,
)
from infrafabric.v1.task_pb2 import Task
from tests.harness.cluster import Backing, Cluster

_MODELS = CredentialEndpoint(url="https://api.example.org/v1/", methods=["GET"])
_TIMES = 20


async def test_x6_a_credential_is_the_same_at_every_server_from_its_answer_on(
    tmp_path: Path, backing: Backing
) -> None:
    async with (
        Cluster(tmp_path, replicas=2, backing=backing, prefix=tmp_path.name) as cluster,
        Client(cluster.replicas[0].grpc) as here,
        Client(cluster.replicas[1].grpc) as there,
    ):
        await here.swarms.register("s", ["any"])
        for number in range(_TIMES):
            # In turns, so that neither is always the one that leads.
            first, second = (here, there) if number % 2 else (there, here)
            name = f"t-{number}"
            await first.tasks.create(Task(task_id=name))
            assert (await second.claims.claim("s", name)).task.attempt == 1
            made = await first.credentials.issue("s", name, 1, [_MODELS])
            assert (await second.credentials.validate(made.token)).valid
            assert await second.credentials.revoke(made.credential.credential_id)
            revoked = await first.credentials.validate(made.token)
            assert revoked.denial == CREDENTIAL_DENIAL_REVOKED
            again = await second.credentials.issue("s", name, 1, [_MODELS])
            assert (await first.credentials.validate(again.token)).valid
            await first.claims.complete("s", name, 1)
            ended = await second.credentials.validate(again.token)
            assert ended.denial == CREDENTIAL_DENIAL_CLAIM_ENDED

        await here.tasks.create(Task(task_id="last"))
        await here.claims.claim("s", "last")
        made = await here.credentials.issue("s", "last", 1, [_MODELS])
        await cluster.replicas[0].kill()
        assert (await there.credentials.validate(made.token)).valid
        assert await there.credentials.revoke(made.credential.credential_id)
        assert not (await there.credentials.validate(made.token)).valid
