"""The context of a call, as every servicer sees it, and what outlives the call."""

from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from grpc import aio

T = TypeVar("T")

# The generated stubs give each method its own parameters here; no servicer uses them.
Context = aio.ServicerContext[Any, Any]


class Finish(Protocol):
    """Runs a decision to its end, also when the call that asked for it is cancelled meanwhile."""

    async def __call__(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what the decision returns, or raise what it raises."""
        ...
