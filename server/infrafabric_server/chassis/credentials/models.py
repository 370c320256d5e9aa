"""Credentials as they are stored: of their secrets, only hashes."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from infrafabric_server.chassis.credentials.urls import Target
from infrafabric_server.limits import Identifier

_FROZEN = ConfigDict(frozen=True)

# Eight credentials with eight endpoints each stay below 64 KiB in the store.
MAX_CREDENTIALS = 8
MAX_ENDPOINTS = 8
MAX_PREFIX = 512
SHORTEST_TTL = timedelta(seconds=1)
LONGEST_TTL = timedelta(days=1)
DEFAULT_TTL = timedelta(minutes=15)

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")

CredentialId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Method = Annotated[str, StringConstraints(pattern=rf"^({'|'.join(METHODS)})$")]


class Denial(StrEnum):
    """Why a credential does not allow a request.

    Who does not have the secret is told the first two only.
    """

    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    REVOKED = "revoked"
    EXPIRED = "expired"
    CLAIM_ENDED = "claim_ended"
    ENDPOINT = "endpoint"
    METHOD = "method"
    HOST = "host"
    NOT_ISSUED = "not_issued"


class Endpoint(BaseModel):
    """Where requests may go, and with which methods.

    `path` allows itself and all below it: /v1 allows /v1 and /v1/models, and not /v10.
    """

    model_config = _FROZEN

    scheme: Literal["http", "https"]
    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65_535)]
    path: Annotated[str, Field(min_length=1, max_length=MAX_PREFIX)]
    methods: Annotated[tuple[Method, ...], Field(min_length=1, max_length=len(METHODS))]

    @property
    def url(self) -> str:
        """The endpoint as an address."""
        return Target(self.scheme, self.host, self.port, self.path).url

    def covers(self, target: Target) -> bool:
        """Tell whether a request to `target` stays within this endpoint."""
        place = (target.scheme, target.host, target.port)
        below = self.path if self.path.endswith("/") else f"{self.path}/"
        within = target.path == self.path or target.path.startswith(below)
        return within and place == (self.scheme, self.host, self.port)


class Credential(BaseModel):
    """What was issued; `digest` is the SHA-256 of the whole token, in hexadecimal digits."""

    model_config = _FROZEN

    credential_id: CredentialId
    digest: Annotated[Digest, Field(repr=False)]
    endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=1, max_length=MAX_ENDPOINTS)]
    create_time: datetime
    expire_time: datetime
    revoke_time: datetime | None = None


class TaskCredentials(BaseModel):
    """All credentials of one attempt, oldest first; stored under `credentials/<task_id>`."""

    model_config = _FROZEN

    swarm_id: Identifier
    task_id: Identifier
    attempt: Annotated[int, Field(ge=1)]
    credentials: Annotated[tuple[Credential, ...], Field(max_length=MAX_CREDENTIALS)] = ()
