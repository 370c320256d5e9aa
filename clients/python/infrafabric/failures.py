"""What sort of failure ended an attempt."""

from typing import Literal

from infrafabric.v1.task_pb2 import (
    FAILURE_KIND_PERMANENT,
    FAILURE_KIND_PROVIDER_QUOTA,
    FAILURE_KIND_PROVIDER_RATE,
    FAILURE_KIND_RETRYABLE,
    FailureKind,
)

Provider = Literal["quota", "rate"]
"""What the swarm's provider refused it for: no quota is left, or it asked too often."""

_PROVIDERS = {"quota": FAILURE_KIND_PROVIDER_QUOTA, "rate": FAILURE_KIND_PROVIDER_RATE}


def failure_kind(*, permanent: bool, provider: Provider | None) -> FailureKind.ValueType:
    """Return the kind of a failure.

    Raises:
        ValueError: it is said to be both permanent and the provider's.
    """
    if provider is None:
        return FAILURE_KIND_PERMANENT if permanent else FAILURE_KIND_RETRYABLE
    if permanent:
        raise ValueError("a failure of the provider is not permanent: another swarm may succeed")
    return _PROVIDERS[provider]
