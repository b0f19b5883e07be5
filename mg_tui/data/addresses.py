"""Which network addresses an image may be fetched from: the public internet, unless the user says otherwise."""

import ipaddress
import os
import socket
from typing import Final

ALLOW_PRIVATE: Final = "MODEL_GARDEN_ALLOW_PRIVATE_URLS"

# Ranges whose addresses stand for an IPv4 address somewhere inside: judged by that address.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
# Cloud metadata that lies outside the ranges `is_global` knows to be private.
_METADATA_ADDRESSES: Final = frozenset({ipaddress.ip_address("168.63.129.16"), ipaddress.ip_address("100.100.100.200")})

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ForbiddenAddress(Exception):
    """An address outside the public internet; the message is the end of a sentence."""


def private_addresses_allowed(allowed: bool | None) -> bool:
    """The caller's word, or the environment's where the caller has none."""
    return os.environ.get(ALLOW_PRIVATE, "") == "1" if allowed is None else allowed


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet: not loopback, private, link-local, metadata, multicast or
    reserved, neither itself nor the IPv4 address inside it."""
    inner: Address | None = None
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if inner is not None:
        return is_public(inner)
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and address not in _METADATA_ADDRESSES
    )


def resolve_allowed_addresses(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The addresses of a host, to be connected to as they are: asking again could give others.

    Raises:
        Forbidden: any of them lies outside the public internet and that is not allowed.
        OSError: the name has no address, or there is no network.
        ValueError: the name cannot be a host name.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
    if not allow_private:
        for address in addresses:
            if not is_public(ipaddress.ip_address(address)):
                raise ForbiddenAddress(f"resolves to {address}, a private or reserved address")
    return addresses
