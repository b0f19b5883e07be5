"""Which network addresses images may be downloaded from: the public internet, unless the user allows others."""

import ipaddress
import os
import socket
from typing import Final

ALLOW_PRIVATE: Final = "MODEL_GARDEN_ALLOW_PRIVATE_URLS"

# Addresses in this range embed an IPv4 address and are checked by it.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
# Cloud metadata services outside the ranges that `is_global` treats as private.
_METADATA_ADDRESSES: Final = frozenset({ipaddress.ip_address("168.63.129.16"), ipaddress.ip_address("100.100.100.200")})

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ForbiddenAddress(Exception):
    """An address outside the public internet; the message completes a sentence whose subject is the image."""


def private_addresses_allowed(allowed: bool | None) -> bool:
    """`allowed`, or the environment variable `MODEL_GARDEN_ALLOW_PRIVATE_URLS` when it is None."""
    return os.environ.get(ALLOW_PRIVATE, "") == "1" if allowed is None else allowed


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet: neither it nor the IPv4 address embedded in it is loopback,
    private, link-local, metadata, multicast or reserved."""
    embedded: Address | None = None
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if embedded is None and address in _NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if embedded is not None:
        return is_public(embedded)
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and address not in _METADATA_ADDRESSES
    )


def resolve_allowed_addresses(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The IP addresses of a host. Connect to these: resolving the name again could give others.

    Raises:
        ForbiddenAddress: any of them lies outside the public internet and that is not allowed.
        OSError: the name has no address, or there is no network.
        ValueError: the name cannot be a host name.
    """
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in entries))
    if not allow_private:
        for address in addresses:
            if not is_public(ipaddress.ip_address(address)):
                raise ForbiddenAddress(f"resolves to {address}, a private or reserved address")
    return addresses
