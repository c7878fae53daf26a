"""Where downloads may go: to public addresses, and to those that a setting allows.

A location may come from people who are not to reach what only this machine can: its own services,
the network around it, a cloud's metadata. What a URL calls its host proves nothing, so what is
looked at are the addresses that the host's name resolves to, and the connection goes to one of
these, without asking again.
"""

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from lfp_pipeline.common.hosts import Address, Network, canonical_host
from lfp_pipeline.errors import LandingError

_NOT_PUBLIC = [
    IPv4Network("100.64.0.0/10"),  # shared by providers and their customers
    IPv4Network("168.63.129.16/32"),  # looks public, but is Azure's host of a virtual machine
    IPv4Network("192.0.0.0/24"),  # protocols, and Oracle Cloud's metadata
]
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class NetworkPolicy:
    """What may be reached beside the public addresses.

    Attributes:
        allowed_hosts: host names and networks, as `parse_allowed_host` returns them.
    """

    allowed_hosts: tuple[Network | str, ...] = ()

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host, all of them allowed, to connect to without resolving again.

        If one is refused, the name is: a name that is both public and private is either an attack
        or a mistake, and to take the public part would make the outcome a matter of order.

        Raises:
            LandingError: one of them is neither public nor allowed.
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
        """Return whether the setting names an address, or a network that has it."""
        return any(address in entry for entry in self.allowed_hosts if not isinstance(entry, str))

    def _check(self, host: str, address: str) -> None:
        reached = _reached(ip_address(address.partition("%")[0]))
        if all(_is_public(one) or self.allows(one) for one in reached):
            return
        told = host if host == address else f"{host} has the address {address}, which"
        msg = (
            f"{told} is not a public address. If downloads may go there, name the host, its "
            "address or its network in the setting LFP_ALLOWED_HOSTS."
        )
        raise LandingError(msg, permanent=True)


def _with_scope(address: str, _port: int, _flow: int = 0, scope: int = 0) -> str:
    """The address in a sockaddr; a link-local one is none without the interface it is at."""
    return f"{address}%{scope}" if scope else address


def _reached(address: Address) -> list[Address]:
    """The addresses that a packet to this one may end at: those that are wrapped in it, too."""
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
        # All that was ever given out for one receiver. The rest holds, among others, loopback,
        # link-local, private and multicast, and the forms that once wrapped IPv4 (::/96).
        return address in _GLOBAL_UNICAST and not address.is_private
    return not (
        address.is_private
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or any(address in network for network in _NOT_PUBLIC)
    )
