"""Modules, loaded swarms and violations, as they are stored."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from infrafabric_server.chassis.contract import ServiceContract
from infrafabric_server.chassis.sandbox.compiled import ModuleKind
from infrafabric_server.chassis.sandbox.outcome import ViolationKind
from infrafabric_server.limits import Identifier

__all__ = ["ModuleKind", "ViolationKind"]

_FROZEN = ConfigDict(frozen=True)

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

# The latest violations of a swarm that are kept at hand; the witness log has all.
KEPT_VIOLATIONS = 50
# A violation tells of what a guest did: its texts are cut to this length.
MAX_DETAIL = 500
# Why a run failed has the beginning of what it wrote to standard error.
MAX_REASON = 2_000


class ModuleState(StrEnum):
    """Whether the bytes of a module are there.

    UPLOADING --all written--> STORED --named by no contract for long--> REMOVING --> gone
    An upload of the same module turns any state into UPLOADING.
    """

    UPLOADING = "uploading"
    STORED = "stored"
    REMOVING = "removing"


class StoredModule(BaseModel):
    """A module; stored under `modules/<sha256>`, its bytes under `module_chunks/<sha256>/<n>`.

    `use_time` is when it was uploaded or loaded last.
    """

    model_config = _FROZEN

    sha256: Digest
    size: Annotated[int, Field(ge=1)]
    kind: ModuleKind
    state: ModuleState
    use_time: datetime


class LatestUpload(BaseModel):
    """The module whose upload began last; stored under `module_uploads/latest`.

    Who begins an upload compares that none began since it looked how much room there is.
    """

    model_config = _FROZEN

    sha256: Digest


class LoadedSwarm(BaseModel):
    """A swarm with a module; stored under `contracts/<swarm_id>`."""

    model_config = _FROZEN

    swarm_id: Identifier
    module_sha256: Digest
    size: int
    kind: ModuleKind
    contract: ServiceContract
    load_time: datetime


class Violation(BaseModel):
    """One limit that a run went beyond, or tried to.

    `limit` and `observed` are in bytes, milliseconds or calls per second; None: there is no figure.
    """

    model_config = _FROZEN

    kind: ViolationKind
    limit: int | None = None
    observed: int | None = None
    detail: str = ""
    task_id: str
    time: datetime


class ViolationRing(BaseModel):
    """The latest violations of a swarm, newest last: under `chassis_violations/<swarm_id>`."""

    model_config = _FROZEN

    total: int = 0
    latest: tuple[Violation, ...] = ()

    def plus(self, new: tuple[Violation, ...]) -> "ViolationRing":
        """Return the ring with more violations; the oldest ones make room."""
        return ViolationRing(
            total=self.total + len(new), latest=(*self.latest, *new)[-KEPT_VIOLATIONS:]
        )


class Usage(BaseModel):
    """What a run used."""

    model_config = _FROZEN

    cpu_time: timedelta = timedelta(0)
    wall_time: timedelta = timedelta(0)
    peak_memory_bytes: int = 0
    api_calls: int = 0
    output_bytes: int = 0


class Execution(BaseModel):
    """How a run ended; `result_json` is the JSON text of an object when it succeeded."""

    model_config = _FROZEN

    succeeded: bool
    result_json: str = ""
    reason: str = ""
    usage: Usage = Usage()
    violations: tuple[Violation, ...] = ()
