"""What surrounds every call: refusals become statuses, calls are counted, a drain is kept."""

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Any, TypeAlias

import grpc
import structlog
from google.rpc.status_pb2 import Status
from grpc import StatusCode, aio
from grpc_status import rpc_status
from structlog.typing import FilteringBoundLogger

from infrafabric_server.edge.calls import Context
from infrafabric_server.edge.error_table import as_refusal, status_of
from infrafabric_server.edge.gate import Gate, draining
from infrafabric_server.edge.methods import MUTATING
from infrafabric_server.edge.metrics import CallMetrics, Meter
from infrafabric_server.errors import FabricError
from infrafabric_server.store.second_look import CatchUp, second_look

_CODES = {code.value[0]: code for code in StatusCode}

# A handler of a servicer: the first argument is the request, or the iterator of requests.
_Behaviour = Callable[[Any, Context], Any]
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_MaybeHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


class Interceptor(aio.ServerInterceptor):
    """Wraps the handler of each method, once, when it is called for the first time."""

    def __init__(self, gate: Gate, metrics: CallMetrics, catch_up: CatchUp | None = None) -> None:
        """Take the switch that says who is let in, and where calls are counted.

        `catch_up` is given when other replicas acknowledge things, too: see `second_look`.
        """
        self._gate = gate
        self._catch_up = catch_up
        self._metrics = metrics
        self._log: FilteringBoundLogger = structlog.get_logger(__name__)
        self._wrapped: dict[str, _Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_MaybeHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _MaybeHandler:
        """Return the handler of the called method, wrapped; None if there is none."""
        path = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                # Not kept: anyone can make up any number of methods.
                return None
            method = _Method(
                path,
                self._gate,
                self._metrics.meter(path[1:]),
                self._log,
                self._catch_up,
                stream=handler.response_streaming,
            )
            wrapped = self._wrapped[path] = _wrap(handler, method)
        return wrapped


class _Method:
    """What all calls of one method share."""

    def __init__(
        self,
        path: str,
        gate: Gate,
        meter: Meter,
        log: FilteringBoundLogger,
        catch_up: CatchUp | None,
        *,
        stream: bool,
    ) -> None:
        self.path = path
        self.catch_up = catch_up
        self.gate = gate
        self.meter = meter
        self.log = log
        self.stream = stream
        self.mutating = path in MUTATING
        self.debug = log.is_enabled_for(logging.DEBUG)


class _Call:
    """Surrounds one call: lets it in, translates how it ended, and counts it."""

    __slots__ = ("_admitted", "_begin", "_context", "_method", "_watcher")

    def __init__(self, method: _Method, context: Context) -> None:
        self._method = method
        self._context = context
        self._begin = time.perf_counter()
        self._admitted = False
        self._watcher: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> None:
        method = self._method
        if method.stream:
            method.meter.stream_began()
        try:
            if method.mutating:
                method.gate.admit()
                self._admitted = True
            elif method.stream:
                self._watcher = method.gate.enter()
        except FabricError as refusal:
            await self._end(refusal)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is not None and _is_cut(error):
                await self._end(asyncio.CancelledError())
                raise asyncio.CancelledError from error
            await self._end(error)
        finally:
            if self._admitted:
                self._method.gate.done()

    async def _end(self, error: BaseException | None) -> None:
        code, status = self._outcome(error)
        seconds = time.perf_counter() - self._begin
        method = self._method
        if method.stream:
            method.meter.stream_ended(code)
        else:
            method.meter.unary_ended(code, seconds)
        if method.debug:
            method.log.debug("call", method=method.path, code=code.name, seconds=seconds)
        if status is not None:
            await self._context.abort_with_status(rpc_status.to_status(status))

    def _outcome(self, error: BaseException | None) -> tuple[StatusCode, Status | None]:
        """Return the code that ends the call, and the status, if it is for us to send it."""
        if self._watcher is not None and self._method.gate.leave(self._watcher):
            error = draining()
        if error is None:
            return StatusCode.OK, None
        if isinstance(error, aio.AbortError):
            code = self._context.code()
            return _CODES[code] if isinstance(code, int) else code, None
        if not isinstance(error, Exception):
            return StatusCode.CANCELLED, None
        if as_refusal(error) is None:
            self._method.log.error("call_failed", method=self._method.path, exc_info=error)
        status = status_of(error)
        return _CODES[status.code], status


def _is_cut(error: BaseException) -> bool:
    """Tell whether all that failed is a write to a caller who is gone, or is sent away."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(aio.InternalError)[1] is None
    return isinstance(error, aio.InternalError)


def _wrap(handler: _Handler, method: _Method) -> _Handler:
    # The stubs know the handlers of the synchronous server only.
    behaviours: dict[tuple[bool, bool], tuple[Any, Any]] = {
        (False, False): (handler.unary_unary, grpc.unary_unary_rpc_method_handler),
        (False, True): (handler.unary_stream, grpc.unary_stream_rpc_method_handler),
        (True, False): (handler.stream_unary, grpc.stream_unary_rpc_method_handler),
        (True, True): (handler.stream_stream, grpc.stream_stream_rpc_method_handler),
    }
    behaviour, make = behaviours[handler.request_streaming, handler.response_streaming]
    respond = _generate if inspect.isasyncgenfunction(behaviour) else _respond
    wrapped: _Handler = make(
        respond(behaviour, method), handler.request_deserializer, handler.response_serializer
    )
    return wrapped


def _respond(behaviour: _Behaviour, method: _Method) -> _Behaviour:
    """Surround a coroutine that returns its answer, or writes its answers itself."""

    async def call(request: Any, context: Context) -> Any:
        async with _Call(method, context):
            return await behaviour(request, context)

    async def look(request: Any, context: Context) -> Any:
        assert method.catch_up is not None
        async with _Call(method, context):
            if not method.mutating:
                await method.catch_up()
                return await behaviour(request, context)
            return await second_look(lambda: behaviour(request, context), method.catch_up)

    return call if method.catch_up is None or method.stream else look


def _generate(behaviour: _Behaviour, method: _Method) -> _Behaviour:
    """Surround a generator of answers, and close it in any case before the call ends."""

    async def call(request: Any, context: Context) -> None:
        async with _Call(method, context), aclosing(behaviour(request, context)) as responses:
            if method.catch_up is not None:
                await method.catch_up()
            async for response in responses:
                await context.write(response)

    return call
