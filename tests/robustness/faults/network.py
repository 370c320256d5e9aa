"""Connections of clients that are cut, slow or silent."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.harness.proxy import Proxy
from tests.robustness.faults.fault import Fault
from tests.robustness.setups.server import Server


@dataclass(slots=True)
class OnProxies:
    """Spoils some of the proxies; `domain` and `seconds` are those of `Fault`."""

    proxies: Sequence[Proxy]
    begin: Callable[[Proxy, random.Random], None]
    end: Callable[[Proxy], None]
    domain: str
    seconds: tuple[float, float]
    _chosen: list[Proxy] = field(default_factory=list, init=False)

    async def inject(self, chance: random.Random) -> str:
        """Spoil at least one."""
        self._chosen = chance.sample(self.proxies, chance.randint(1, len(self.proxies)))
        for proxy in self._chosen:
            self.begin(proxy, chance)
        return ", ".join(proxy.target for proxy in self._chosen)

    async def heal(self) -> None:
        """Repair them."""
        for proxy in self._chosen:
            self.end(proxy)


def cut(proxy: Proxy, chance: random.Random) -> None:
    """Cut now, and once more in the middle of what the server says next."""
    proxy.cut()
    proxy.cut_after = chance.randrange(20_000)


def slow(proxy: Proxy, chance: random.Random) -> None:
    """Hold everything back for a while."""
    proxy.delay = chance.uniform(0.005, 0.2)


def stall(proxy: Proxy, _: random.Random) -> None:
    """Let nothing pass."""
    proxy.stall()


def refuse(proxy: Proxy, _: random.Random) -> None:
    """Cut, and let nobody connect."""
    proxy.refusing = True
    proxy.cut()


def repair(proxy: Proxy) -> None:
    """Undo all of these."""
    proxy.refusing = False
    proxy.delay = 0.0
    proxy.cut_after = None
    proxy.flow()


def network_faults(servers: Sequence[Server]) -> dict[str, Fault]:
    """Return the faults of the connections between clients and servers.

    Args:
        servers: whose proxies are spoiled.
    """
    return proxy_faults("", [p for s in servers for p in (s.grpc, s.http)], "network")


def proxy_faults(prefix: str, proxies: Sequence[Proxy], domain: str) -> dict[str, Fault]:
    """Return the faults of connections through some proxies.

    Args:
        prefix: of the names of the faults.
        proxies: which are spoiled.
        domain: see `Fault`.
    """
    return {
        f"{prefix}cut": OnProxies(proxies, cut, repair, domain, (0.2, 2.0)),
        f"{prefix}slow": OnProxies(proxies, slow, repair, domain, (1.0, 4.0)),
        f"{prefix}stall": OnProxies(proxies, stall, repair, domain, (0.5, 5.0)),
        f"{prefix}refuse": OnProxies(proxies, refuse, repair, domain, (0.5, 4.0)),
    }
