"""What the servers of the tests stand on: a store of their own, or an etcd and a NATS.

A test starts servers in the same way for both. Where they run is in the environment, which
reaches every process that a test starts: etcd and NATS, and for each server's folder a fabric
of its own. So a server that is killed and started again finds what it had.
"""

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path

_ETCD = "INFRAFABRIC_TEST_ETCD"
_NATS = "INFRAFABRIC_TEST_NATS"


class Setup(StrEnum):
    """A set-up, by the name that the ids of tests show."""

    EMBEDDED = "embedded"
    DISTRIBUTED = "distributed"


def variables(endpoints: Iterable[str], nats: str) -> dict[str, str]:
    """Return the variables that make servers stand on an etcd and a NATS.

    Args:
        endpoints: of etcd, as `host:port`.
        nats: its address.
    """
    return {_ETCD: ",".join(endpoints), _NATS: nats}


def arguments(environment: Mapping[str, str], directory: Path) -> tuple[str, ...]:
    """Return what tells the server of a folder what to stand on."""
    if _ETCD not in environment:
        return ()
    prefix = hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    return ("--store", f"etcd://{environment[_ETCD]}/{prefix}", "--bus", environment[_NATS])
