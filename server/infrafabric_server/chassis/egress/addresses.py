"""Which addresses guests may reach: those that everybody on the internet can."""

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")


def public(address: Address) -> bool:
    """Tell whether an address is one of the internet, whatever it may be wrapped into.

    Not so: loopback, link-local (where clouds keep their metadata), private and shared networks,
    multicast, what is reserved, and addresses of IPv6 that lead into those of IPv4.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and not address.is_reserved
    tunnelled = address.ipv4_mapped or address.sixtofour or address.teredo
    return address.is_global and address in _GLOBAL_UNICAST and not tunnelled


def reachable(host: str, found: Sequence[Address]) -> Sequence[Address]:
    """Return the addresses of a host that a request may go to.

    An address that a credential names itself is meant, wherever it leads. A name is not trusted
    with that: who runs its DNS could have it lead into our network.

    Raises:
        ValueError: the name leads to an address that is not one of the internet, or to none.
    """
    if not found:
        raise ValueError("the host has no address")
    if not all(public(address) or str(address) == host for address in found):
        raise ValueError(
            "the host leads to an address that is not public; a credential for it has to name the"
            " address itself"
        )
    return found
