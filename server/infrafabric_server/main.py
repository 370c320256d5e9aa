"""The composition root: the process of a server, its signals and its exit code."""

import asyncio
import gc
import signal
import sys
from collections.abc import Callable

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from infrafabric_server.adapters import opened
from infrafabric_server.bus.address import BusRefusedError
from infrafabric_server.config import ConfigError, Settings
from infrafabric_server.edge.grpc_server import ListenError
from infrafabric_server.governor.policy.file import PolicyFileError
from infrafabric_server.logs import configure_logs
from infrafabric_server.replica import Replica, Stop
from infrafabric_server.store.data_format import OtherFormat
from infrafabric_server.store.protocol import StoreDenied, StoreRefused, StoreUnavailable

_log = structlog.get_logger(__name__)

# The thread that commits waits for the interpreter's lock as long as the event loop holds
# it, at most this long instead of Python's 5 ms: a commit takes less than that.
_SWITCH_SECONDS = 0.0005

# The views hold many objects for long and almost no cycles: looking for those as often as
# Python does by default costs several milliseconds at a time, in the middle of a claim.
_GC_THRESHOLDS = (50_000, 50, 100)

_REFUSALS = (
    *(StoreRefused, StoreDenied, StoreUnavailable),
    *(BusRefusedError, ConfigError, OSError),
)
_DRAINED = 0
_REFUSED = 1
_BAD_SETTINGS = 2
# To start again is of no use, unless it is another release.
_OTHER_FORMAT = 5


def serve(settings: Settings, refused: Callable[[str], None] | None = None) -> int:
    """Run a server until SIGTERM or SIGINT, then drain it; a second signal cuts the drain short.

    Prints one line when both ports answer: `ready grpc=HOST:PORT http=HOST:PORT`.

    Args:
        settings: what it goes by.
        refused: is told why the server cannot start and what to do; the log, unless given.

    Returns:
        0 after a drain; 1 when the data, a port or a secret cannot be had, or the data cannot be
        used any more while it runs; 2 when the policy is wrong; 5 when the data are in a format
        that only another release knows.
    """
    refuse = refused or _log_refusal
    configure_logs(settings.log_level)
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.set_threshold(*_GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_serve(settings))
        except OtherFormat as error:
            refuse(str(error))
            return _OTHER_FORMAT
        except PolicyFileError as error:
            refuse(str(error))
            return _BAD_SETTINGS
        except _REFUSALS as error:
            refuse(str(error))
            return _REFUSED
        except ExceptionGroup as group:
            # The gRPC port is bound when the parts that serve it run already.
            if not (taken := group.subgroup(ListenError)):
                raise
            refuse(str(taken.exceptions[0]))
            return _REFUSED


def _log_refusal(reason: str) -> None:
    _log.error("refused_to_start", reason=reason)


async def _serve(settings: Settings) -> int:
    stop = Stop()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.ask)
    registry = CollectorRegistry()
    async with opened(settings, registry) as adapters:
        replica = await Replica.build(settings, adapters, registry)
        if settings.policy is not None:
            # Otherwise it is what it always was: the terminal is gone.
            loop.add_signal_handler(signal.SIGHUP, replica.components.policy.ask)
        await replica.run(stop)
    return _DRAINED if stop.refusal is None else _REFUSED
