"""Calls about the chassis: load a swarm with a module, run it, see what it went beyond."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from infrafabric.calls import Caller
from infrafabric.v1 import chassis_execution_pb2, chassis_module_pb2
from infrafabric.v1.chassis_contract_pb2 import LoadedSwarm, ServiceContract
from infrafabric.values import to_struct

_CHUNK_BYTES = 1024 * 1024
# Larger ones are uploaded: a call carries 4 MiB.
_INLINE_BYTES = 3 * _CHUNK_BYTES

# The server may compile twice, and others wait for their turn to compile.
_COMPILE_SECONDS = 120.0

_PROMISES_NOTHING = ServiceContract()


class Chassis:
    """Foreign code in a box, as ChassisService knows it.

    Every method may raise the FabricErrors that its RPC lists.
    """

    def __init__(self, calls: Caller) -> None:
        self._calls = calls

    async def upload(self, module: bytes) -> chassis_module_pb2.UploadModuleResponse:
        """Store a module; what no swarm is loaded with is removed after an hour.

        Args:
            module: in the binary or the text format of WebAssembly.
        """
        return await self._calls.sent(
            lambda at: at.chassis.UploadModule, _chunks(module), deadline=_COMPILE_SECONDS
        )

    async def load(
        self, swarm_id: str, module: bytes | str, contract: ServiceContract = _PROMISES_NOTHING
    ) -> LoadedSwarm:
        """Give a swarm a module, in place of what it had; a large one is uploaded first.

        Args:
            swarm_id: a registered swarm.
            module: its bytes, or the SHA-256 of one that is stored.
            contract: what it may use, and what is promised for it.
        """
        if isinstance(module, bytes) and len(module) > _INLINE_BYTES:
            module = (await self.upload(module)).module_sha256
        request = chassis_module_pb2.LoadSwarmRequest(swarm_id=swarm_id, contract=contract)
        if isinstance(module, bytes):
            request.module = module
        else:
            request.module_sha256 = module
        answer = await self._calls.unary(
            lambda at: at.chassis.LoadSwarm, request, deadline=_COMPILE_SECONDS
        )
        return answer.swarm

    async def unload(self, swarm_id: str) -> bool:
        """Take the module from a swarm; tell whether it had one.

        Args:
            swarm_id: the swarm.
        """
        request = chassis_module_pb2.UnloadSwarmRequest(swarm_id=swarm_id)
        answer = await self._calls.unary(lambda at: at.chassis.UnloadSwarm, request)
        return answer.unloaded

    async def list(self) -> AsyncIterator[LoadedSwarm]:
        """Iterate over the loaded swarms by id."""
        request = chassis_module_pb2.ListLoadedSwarmsRequest()
        async for page in self._calls.pages(lambda at: at.chassis.ListLoadedSwarms, request):
            for swarm in page.swarms:
                yield swarm

    async def execute(
        self,
        swarm_id: str,
        task_id: str,
        task_input: Mapping[str, Any] | None = None,
        *,
        deadline: float = 60.0,
    ) -> chassis_execution_pb2.ExecuteTaskResponse:
        """Run the module of a swarm once; one that does not succeed is an answer.

        A call that is cancelled ends the run.

        Args:
            swarm_id: a loaded swarm.
            task_id: id under which the run is recorded.
            task_input: what the module gets.
            deadline: seconds for the wait for its turn and the run.
        """
        request = chassis_execution_pb2.ExecuteTaskRequest(
            swarm_id=swarm_id, task_id=task_id, input=to_struct(task_input or {})
        )
        return await self._calls.unary(
            lambda at: at.chassis.ExecuteTask, request, deadline=deadline
        )

    async def violations(self, swarm_id: str) -> chassis_execution_pb2.ListViolationsResponse:
        """Return the latest limits that runs of a swarm went beyond, the newest first.

        Args:
            swarm_id: the swarm.
        """
        request = chassis_execution_pb2.ListViolationsRequest(swarm_id=swarm_id)
        return await self._calls.unary(lambda at: at.chassis.ListViolations, request)


def _chunks(module: bytes) -> Iterator[chassis_module_pb2.UploadModuleRequest]:
    for begin in range(0, len(module), _CHUNK_BYTES):
        chunk = module[begin : begin + _CHUNK_BYTES]
        yield chassis_module_pb2.UploadModuleRequest(chunk=chunk)
