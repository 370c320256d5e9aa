"""The calls about modules and contracts: uploading, loading, unloading, listing."""

import asyncio
from collections.abc import AsyncIterator, Callable

from infrafabric.v1 import chassis_module_pb2 as pb
from infrafabric.v1.chassis_service_pb2_grpc import ChassisServiceServicer
from infrafabric_server.chassis.chassis import Chassis
from infrafabric_server.chassis.service import parse
from infrafabric_server.chassis.service.places import Places
from infrafabric_server.chassis.service.wire import KINDS, loaded_to_wire
from infrafabric_server.edge import paging, validate
from infrafabric_server.edge.calls import Context
from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.limits import MAX_BOARD_BYTES

_CHUNK_BYTES = 1024 * 1024

# A caller that sends nothing for as long gives its place to others, and so does one that takes
# longer than 1 Mbit/s do for the largest module.
_SILENCE_SECONDS = 30.0
_WHOLE_SECONDS = 600.0


class ModuleCalls(ChassisServiceServicer):
    """UploadModule, LoadSwarm, UnloadSwarm, ListLoadedSwarms."""

    chassis: Chassis
    uploads: Places
    loads: Places

    async def UploadModule(
        self, request: AsyncIterator[pb.UploadModuleRequest], context: Context
    ) -> pb.UploadModuleResponse:
        """Store a module."""
        async with self.uploads.place():
            module = bytes(await received(request, self.chassis.modules.check_size))
            if not module:
                raise InvalidField(FieldViolation("chunk", "must have the bytes of a module"))
            stored = await self.chassis.upload(module)
        return pb.UploadModuleResponse(
            module_sha256=stored.sha256, size_bytes=stored.size, kind=KINDS[stored.kind]
        )

    async def LoadSwarm(
        self, request: pb.LoadSwarmRequest, context: Context
    ) -> pb.LoadSwarmResponse:
        """Give a swarm a module."""
        swarm_id = validate.require_id("swarm_id", request.swarm_id)
        if bool(request.module) is bool(request.module_sha256):
            rule = "must be set, or else module_sha256: exactly one of the two"
            raise InvalidField(FieldViolation("module", rule))
        if len(request.module) > MAX_BOARD_BYTES:
            rule = f"must be at most {MAX_BOARD_BYTES} bytes; use UploadModule"
            raise InvalidField(FieldViolation("module", rule))
        contract = parse.wanted(request.contract)
        if request.module:
            # Of their own: an upload may keep its place for minutes before it is there.
            async with self.loads.place(len(request.module)):
                loaded = await self.chassis.load_swarm(swarm_id, request.module, contract)
        else:
            sha256 = parse.digest("module_sha256", request.module_sha256)
            loaded = await self.chassis.load_swarm(swarm_id, sha256, contract)
        return pb.LoadSwarmResponse(swarm=loaded_to_wire(loaded))

    async def UnloadSwarm(
        self, request: pb.UnloadSwarmRequest, context: Context
    ) -> pb.UnloadSwarmResponse:
        """Take the module from a swarm."""
        swarm_id = validate.require_id("swarm_id", request.swarm_id)
        return pb.UnloadSwarmResponse(unloaded=await self.chassis.unload_swarm(swarm_id))

    async def ListLoadedSwarms(
        self, request: pb.ListLoadedSwarmsRequest, context: Context
    ) -> pb.ListLoadedSwarmsResponse:
        """Return a page of loaded swarms."""
        size = validate.page_size(request.page_size)
        found = self.chassis.contracts.page(paging.page_position(request), size + 1)
        response = pb.ListLoadedSwarmsResponse(swarms=map(loaded_to_wire, found[:size]))
        if len(found) > size:
            response.next_page_token = paging.next_page_token(request, found[size - 1].swarm_id)
        return response


async def received(
    chunks: AsyncIterator[pb.UploadModuleRequest],
    check: Callable[[int], None],
    *,
    whole_seconds: float = _WHOLE_SECONDS,
) -> bytearray:
    """Return the bytes of a module that comes in pieces.

    Args:
        chunks: the pieces.
        check: raises for so many bytes.
        whole_seconds: what all of them may take.

    Raises:
        InvalidField: a piece is too large, or they come too slowly; and what `check` raises.
    """
    module, now = bytearray(), asyncio.get_running_loop().time
    end = now() + whole_seconds
    while True:
        try:
            async with asyncio.timeout(min(_SILENCE_SECONDS, end - now())):
                following = await anext(chunks, None)
        except TimeoutError:
            rule = (
                f"must follow the one before within {_SILENCE_SECONDS:g} seconds, and all must be"
                f" there within {whole_seconds:g}"
            )
            raise InvalidField(FieldViolation("chunk", rule)) from None
        if following is None:
            return module
        if len(following.chunk) > _CHUNK_BYTES:
            rule = f"must be at most {_CHUNK_BYTES} bytes"
            raise InvalidField(FieldViolation("chunk", rule))
        module += following.chunk
        check(len(module))
