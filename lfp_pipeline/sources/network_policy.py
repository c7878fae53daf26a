"""Network policy of downloads: public addresses, and those that a setting allows.

A location may come from people who must not reach what this machine can: its own services, the
local network, the metadata service of a cloud. A host name proves nothing, so the policy checks the
addresses that the name resolves to. The connection then uses a checked address, and does not
resolve the name again.
"""

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from lfp_pipeline.common.setting_types import Address, Network, canonical_host
from lfp_pipeline.errors import LandingError

_NOT_PUBLIC = [
    IPv4Network("100.64.0.0/10"),  # shared address space of providers
    IPv4Network("168.63.129.16/32"),  # the host of a virtual machine on Azure
    IPv4Network("192.0.0.0/24"),  # protocol assignments, and Oracle Cloud's metadata
]
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class NetworkPolicy:
    """Hosts that may be reached beside the public addresses.

    Attributes:
        allowed_hosts: host names and networks, as `parse_allowed_host` returns them.
    """

    allowed_hosts: tuple[Network | str, ...] = ()

    def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host, to connect to without resolving the name again.

        One refused address is enough to refuse the host: a name with public and private addresses
        is an attack or a mistake.

        Raises:
            LandingError: an address is neither public nor allowed.
            OSError: the name cannot be resolved.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            msg = f"{host} is not a host name."
            raise LandingError(msg, permanent=True) from error
        addresses = [_with_scope(*sockaddr) for *_, sockaddr in found]
        if canonical_host(host) not in self.allowed_hosts:
            for address in addresses:
                self._check(host, address)
        return addresses

    def allows(self, address: Address) -> bool:
        """Return whether the setting names an address, or a network that contains the address."""
        return any(address in entry for entry in self.allowed_hosts if not isinstance(entry, str))

    def _check(self, host: str, address: str) -> None:
        reached = _reached(ip_address(address.partition("%")[0]))
        if all(_is_public(end) or self.allows(end) for end in reached):
            return
        subject = host if host == address else f"{host} has the address {address}, which"
        msg = (
            f"{subject} is not a public address. To allow it, add the host, its address or its "
            "network to the setting LFP_ALLOWED_HOSTS."
        )
        raise LandingError(msg, permanent=True)


def _with_scope(address: str, _port: int, _flow: int = 0, scope: int = 0) -> str:
    """Return the address in a sockaddr; a link-local address includes its interface."""
    return f"{address}%{scope}" if scope else address


def _reached(address: Address) -> list[Address]:
    """Return the addresses where a packet may end: an IPv6 address may embed an IPv4 address."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    if address.sixtofour:
        return [address.sixtofour]
    if address.teredo:
        return list(address.teredo)
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address]


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        # Only global unicast addresses are assigned. The rest includes loopback, link-local,
        # private and multicast addresses, and the obsolete forms that embed IPv4 (::/96).
        return address in _GLOBAL_UNICAST and not address.is_private
    return not (
        address.is_private
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or any(address in network for network in _NOT_PUBLIC)
    )
