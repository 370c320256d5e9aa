"""Free ports for the programs that tests start."""

import itertools
import os
import random
import socket
from collections.abc import Iterator
from functools import cache

# Below the ports that Linux gives to connections and to whoever asks for any (from 32768 on): a
# program that is killed finds its port free when it is started again, whatever else runs.
_PORTS = range(10_000, 32_768)


@cache
def _own_ports() -> Iterator[int]:
    """Return the ports of this worker of pytest, over and over: no two workers share any."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = _PORTS[worker::workers]
    # Other runs on the machine begin elsewhere.
    begin = random.randrange(len(own))
    return itertools.cycle((*own[begin:], *own[:begin]))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections that have ended do not keep their port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens at.

    It is not returned again before all others were.
    """
    return next(port for port in _own_ports() if _is_free(port))
