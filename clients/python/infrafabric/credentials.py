"""Scoped credentials: what the holder of a claim may reach, for as long as the claim lives."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from infrafabric.calls import Caller
from infrafabric.v1 import chassis_credential_pb2 as pb2


@dataclass(frozen=True)
class Issued:
    """A new credential; `token` is its secret, of which there is no other copy.

    It does not show in `repr`, so that it gets into no log by accident.
    """

    credential: pb2.Credential
    token: str = field(repr=False)


class Credentials:
    """Issuing, validating, revoking and listing; made by `Client`."""

    def __init__(self, calls: Caller) -> None:
        self._calls = calls

    async def issue(
        self,
        swarm_id: str,
        task_id: str,
        attempt: int,
        endpoints: Iterable[pb2.CredentialEndpoint],
        *,
        ttl: timedelta | None = None,
    ) -> Issued:
        """Issue a credential to the holder of a claim; a repeat issues another.

        Args:
            swarm_id: the holder.
            task_id: the claimed task.
            attempt: of the claim, as it was won.
            endpoints: where requests may go, and with which methods; at most 8.
            ttl: longest life, 1 second to 1 day; None is 15 minutes.
        """
        request = pb2.IssueCredentialRequest(
            swarm_id=swarm_id, task_id=task_id, attempt=attempt, endpoints=endpoints
        )
        if ttl is not None:
            life = Duration()
            life.FromTimedelta(ttl)
            request.ttl.CopyFrom(life)
        answer = await self._calls.unary(lambda at: at.chassis.IssueCredential, request)
        return Issued(answer.credential, answer.token)

    async def validate(
        self, token: str, method: str = "", url: str = ""
    ) -> pb2.ValidateCredentialResponse:
        """Tell whether a token allows a request at this moment; one that does not is an answer.

        Args:
            token: as it was issued.
            method: of the request, in upper case; empty with `url` to ask of the token alone.
            url: the whole address of the request.
        """
        request = pb2.ValidateCredentialRequest(token=token, method=method, url=url)
        return await self._calls.unary(lambda at: at.chassis.ValidateCredential, request)

    async def revoke(self, credential_id: str) -> bool:
        """End a credential at once, on every replica; tell whether there was one to end.

        Args:
            credential_id: its id, which is also the second part of its token.
        """
        request = pb2.RevokeCredentialRequest(credential_id=credential_id)
        answer = await self._calls.unary(lambda at: at.chassis.RevokeCredential, request)
        return answer.revoked

    async def list(
        self,
        swarm_id: str = "",
        state: pb2.CredentialState.ValueType = pb2.CREDENTIAL_STATE_UNSPECIFIED,
    ) -> AsyncIterator[pb2.ListedCredential]:
        """Iterate over credentials by task, those of a task by age; nobody sees their secrets.

        Args:
            swarm_id: only those of this swarm; empty for all.
            state: only those in this state; UNSPECIFIED is all that are not forgotten.
        """
        request = pb2.ListCredentialsRequest(swarm_id=swarm_id, state=state)
        async for page in self._calls.pages(lambda at: at.chassis.ListCredentials, request):
            for credential in page.credentials:
                yield credential
