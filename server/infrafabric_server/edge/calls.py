"""The context of a call, as every servicer sees it."""

from typing import Any

from grpc import aio

# The generated stubs give each method its own parameters here; no servicer uses them.
Context = aio.ServicerContext[Any, Any]
