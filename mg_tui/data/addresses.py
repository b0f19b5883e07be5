"""Which network addresses images may be downloaded from: the public internet, unless the user allows others."""

import ipaddress
import os
import socket
from typing import Final

ALLOW_PRIVATE: Final = "MODEL_GARDEN_ALLOW_PRIVATE_URLS"

# Addresses in this range embed an IPv4 address and are checked by it.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
# Cloud metadata services outside the ranges that `is_global` treats as private.
_METADATA_ADDRESSES: Final = frozenset(
    ipaddress.ip_address(text)
    for text in ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ForbiddenAddress(Exception):
    """An address outside the public internet; the message completes a sentence whose subject is the image."""


def private_addresses_allowed(allowed: bool | None) -> bool:
    """`allowed`, or the environment variable `MODEL_GARDEN_ALLOW_PRIVATE_URLS` when it is None."""
    return os.environ.get(ALLOW_PRIVATE, "") == "1" if allowed is None else allowed


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet: neither it nor the IPv4 address embedded in it is loopback,
    private, link-local, metadata, multicast or reserved."""
    embedded = _embedded_address(address)
    if embedded is not None:
        return is_public(embedded)
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and address not in _METADATA_ADDRESSES
    )


def is_metadata(address: Address) -> bool:
    """Whether an address may be that of a cloud's metadata service, which hands out credentials: link-local, or one of
    the known others. These are refused even where private addresses are allowed."""
    embedded = _embedded_address(address)
    if embedded is not None:
        return is_metadata(embedded)
    return address.is_link_local or address in _METADATA_ADDRESSES


def _embedded_address(address: Address) -> Address | None:
    """The IPv4 address that an IPv6 address stands for; None when it stands for itself."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    embedded = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    if embedded is None and address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return embedded


def resolve_allowed_addresses(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The IP addresses of a host. Connect to these: resolving the name again could give others.

    Raises:
        ForbiddenAddress: any of them is a metadata address, or lies outside the public internet and that is not
            allowed.
        OSError: the name has no address, or there is no network.
        ValueError: the name cannot be a host name.
    """
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in entries))
    for address in addresses:
        parsed = ipaddress.ip_address(address)
        if not allow_private and not is_public(parsed):
            raise ForbiddenAddress(f"resolves to {address}, a private or reserved address")
        if is_metadata(parsed):
            raise ForbiddenAddress(f"resolves to {address}, a link-local or metadata address, which is never allowed")
    return addresses
