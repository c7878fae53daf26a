"""Host names, addresses and networks, in the form that the network policy compares."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_HOST_NAME = re.compile(r"(?!.*\.\d*$)[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def parse_allowed_host(entry: str) -> Network | str:
    """Return the network of an entry of `allowed_hosts` (an address is one), or its host name.

    Raises:
        ValueError: the entry is neither.
    """
    try:
        return ip_network(entry.strip("[]"))
    except ValueError as error:
        name = canonical_host(entry)
        if _HOST_NAME.fullmatch(name):
            return name
        msg = "a host name (xn--... if it is international), an address, or a network (10.0.0.0/8)"
        raise ValueError(msg) from error


def canonical_host(host: str) -> str:
    """Return a host name in the spelling that is compared."""
    return host.lower().removesuffix(".")
