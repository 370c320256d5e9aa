"""The calls about credentials."""

import asyncio
import re

from infrafabric.v1 import chassis_credential_pb2 as pb
from infrafabric.v1.chassis_service_pb2_grpc import ChassisServiceServicer
from infrafabric_server.chassis.credentials.credentials import Credentials
from infrafabric_server.chassis.credentials.models import (
    DEFAULT_TTL,
    LONGEST_TTL,
    MAX_ENDPOINTS,
    SHORTEST_TTL,
    Credential,
    Denial,
    TaskCredentials,
)
from infrafabric_server.chassis.service.endpoints import (
    endpoint_to_wire,
    read_endpoint,
    read_method,
    read_target,
)
from infrafabric_server.edge import paging, validate
from infrafabric_server.edge.calls import Context
from infrafabric_server.edge.times import from_duration, to_timestamp
from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.limits import MAX_BOARD_BYTES

_ID = re.compile(r"[0-9a-f]{16}")
# Tasks that are listed in one turn of the event loop: 10 ms if each has all that it may have.
_TURN = 64

DENIALS = {
    Denial.MALFORMED: pb.CREDENTIAL_DENIAL_MALFORMED,
    Denial.UNKNOWN: pb.CREDENTIAL_DENIAL_UNKNOWN,
    Denial.REVOKED: pb.CREDENTIAL_DENIAL_REVOKED,
    Denial.EXPIRED: pb.CREDENTIAL_DENIAL_EXPIRED,
    Denial.CLAIM_ENDED: pb.CREDENTIAL_DENIAL_CLAIM_ENDED,
    Denial.ENDPOINT: pb.CREDENTIAL_DENIAL_ENDPOINT,
    Denial.METHOD: pb.CREDENTIAL_DENIAL_METHOD,
    Denial.HOST: pb.CREDENTIAL_DENIAL_HOST,
}


# Why a credential has ended, as its state.
STATES = {
    None: pb.CREDENTIAL_STATE_LIVE,
    Denial.REVOKED: pb.CREDENTIAL_STATE_REVOKED,
    Denial.EXPIRED: pb.CREDENTIAL_STATE_EXPIRED,
    Denial.CLAIM_ENDED: pb.CREDENTIAL_STATE_CLAIM_ENDED,
}


class CredentialCalls(ChassisServiceServicer):
    """IssueCredential, ValidateCredential, RevokeCredential, ListCredentials."""

    credentials: Credentials

    async def IssueCredential(
        self, request: pb.IssueCredentialRequest, context: Context
    ) -> pb.IssueCredentialResponse:
        """Issue a credential to the holder of a claim."""
        ttl = DEFAULT_TTL
        if request.HasField("ttl"):
            ttl = from_duration("ttl", request.ttl, least=SHORTEST_TTL, most=LONGEST_TTL)
        if not 1 <= len(request.endpoints) <= MAX_ENDPOINTS:
            rule = f"must have 1 to {MAX_ENDPOINTS} entries"
            raise InvalidField(FieldViolation("endpoints", rule))
        issued = await self.credentials.issue(
            validate.require_id("swarm_id", request.swarm_id),
            validate.require_id("task_id", request.task_id),
            validate.require_attempt("attempt", request.attempt),
            ttl,
            tuple(
                read_endpoint(f"endpoints[{n}]", each) for n, each in enumerate(request.endpoints)
            ),
        )
        return pb.IssueCredentialResponse(
            credential=_to_wire(issued.held, issued.credential), token=issued.token
        )

    async def ValidateCredential(
        self, request: pb.ValidateCredentialRequest, context: Context
    ) -> pb.ValidateCredentialResponse:
        """Tell what a token allows."""
        wanted = None
        if request.method or request.url:
            wanted = (read_method("method", request.method), read_target("url", request.url))
        verdict = await self.credentials.validate(request.token, wanted)
        answer = pb.ValidateCredentialResponse(valid=verdict.denial is None)
        if verdict.denial is not None:
            answer.denial = DENIALS[verdict.denial]
        if verdict.held is not None and verdict.credential is not None:
            answer.credential.CopyFrom(_to_wire(verdict.held, verdict.credential))
        return answer

    async def RevokeCredential(
        self, request: pb.RevokeCredentialRequest, context: Context
    ) -> pb.RevokeCredentialResponse:
        """End a credential."""
        if _ID.fullmatch(request.credential_id) is None:
            rule = "must be 16 hexadecimal digits, in lower case"
            raise InvalidField(FieldViolation("credential_id", rule))
        return pb.RevokeCredentialResponse(
            revoked=await self.credentials.revoke(request.credential_id)
        )

    async def ListCredentials(
        self, request: pb.ListCredentialsRequest, context: Context
    ) -> pb.ListCredentialsResponse:
        """Return the credentials of a page of tasks."""
        swarm_id = validate.optional_id("swarm_id", request.swarm_id)
        if request.state not in (pb.CREDENTIAL_STATE_UNSPECIFIED, *STATES.values()):
            raise InvalidField(FieldViolation("state", "must be a state that there is"))
        size, after = validate.page_size(request.page_size), paging.page_position(request)
        part = await self.credentials.page(after, size, swarm_id)
        answer, position, taken = pb.ListCredentialsResponse(), part.position, 0
        for number, held in enumerate(part.found, 1):
            if number % _TURN == 0:
                await asyncio.sleep(0)
            rows = [
                pb.ListedCredential(credential=_to_wire(held, each), state=STATES[over])
                for each, over in self.credentials.listed(held)
                if request.state in (pb.CREDENTIAL_STATE_UNSPECIFIED, STATES[over])
            ]
            taken += sum(row.ByteSize() for row in rows)
            if taken > MAX_BOARD_BYTES:
                # Each is below 64 KiB, so that there is one before it.
                position = after
                break
            answer.credentials.extend(rows)
            after = held.task_id
        answer.next_page_token = paging.next_page_token(request, position)
        return answer


def _to_wire(held: TaskCredentials, credential: Credential) -> pb.Credential:
    return pb.Credential(
        credential_id=credential.credential_id,
        swarm_id=held.swarm_id,
        task_id=held.task_id,
        attempt=held.attempt,
        endpoints=map(endpoint_to_wire, credential.endpoints),
        create_time=to_timestamp(credential.create_time),
        expire_time=to_timestamp(credential.expire_time),
    )
