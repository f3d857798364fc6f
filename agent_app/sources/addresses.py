"""Which addresses of the network a page may be fetched from: public ones, and no others."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolver = Callable[[str], Awaitable[list[str]]]
"""From a host name to addresses."""

_SPECIAL_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT, and a cloud's metadata at 100.100.100.200
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's host, as its guests see it
            "169.254.0.0/16",  # link-local, and the clouds' metadata at 169.254.169.254
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
"""Source: IANA IPv4 Special-Purpose Address Registry; written out since `is_global` differs by
release of Python."""
_GLOBAL_V6 = IPv6Network("2000::/3")
"""All that is given out. Loopback, local, mapped, compatible and multicast lie outside of it."""
_SPECIAL_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocols: Teredo, ORCHID, benchmarks
            "2001:db8::/32",
            "2002::/16",  # 6to4 holds an IPv4 address of anybody's choice
            "3fff::/20",
        ),
    )
)
"""Source: IANA IPv6 Special-Purpose Address Registry."""
_NAT64 = IPv6Network("64:ff9b::/96")
"""Where a network without IPv4 shows it, the address in the last 32 bits. Source: RFC 6052."""


def is_public(address: Address) -> bool:
    """Say whether the address is one of the public internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)


def is_reachable(address: Address, allowed: Sequence[Network]) -> bool:
    """Say whether it is public, or in a network that is allowed all the same."""
    return is_public(address) or any(address in network for network in allowed)


def literal_address(host: str) -> Address | None:
    """Return the address that the host is written as, None for a name.

    Raises: ValueError (a number that only some resolvers take for an address: 2130706433, 0x7f.1,
    0177.0.0.1, 127.1, an IPv6 zone).
    """
    try:
        return ip_address(host) if "%" not in host else _refuse(host)
    except ValueError:
        last = host.rstrip(".").rpartition(".")[2]
        if ":" in host or last.isdigit() or last[:2].lower() == "0x":
            _refuse(host)
    return None


def _refuse(host: str) -> Address:
    raise ValueError(f"{host!r} is no plain spelling of an address")


async def resolve(host: str) -> list[str]:
    """Return the addresses of the name, in the order of the system's preference.

    Raises: socket.gaierror.
    """
    found = await asyncio.get_running_loop().getaddrinfo(
        host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def networks(*texts: str) -> tuple[Network, ...]:
    """Return networks written as `127.0.0.1/32`."""
    return tuple(map(ip_network, texts))
