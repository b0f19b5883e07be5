"""Who is at the other end of a loopback connection: the user whose process opened it, from the kernel's table."""

import ipaddress
import os
import sys
from pathlib import Path
from typing import Final

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED: Final = "01"


def is_same_user(client: tuple[str, int], server: tuple[str, int]) -> bool:
    """Whether this user, or root, opened the connection from `client` to `server`, both addresses of this machine.

    False where the kernel has no such table: then a token is needed.
    """
    return peer_user(client, server) in (os.geteuid(), 0)


def peer_user(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """The user id of the process that opened a connection; None when it is unknown, or the socket was closed."""
    pairs = [f"{_hex_address(client, mapped=mapped)} {_hex_address(server, mapped=mapped)}" for mapped in (False, True)]
    for table in _TABLES:
        try:
            text = table.read_text(encoding="ascii")
        except OSError:
            continue
        for pair in pairs:  # searched for as text: with thousands of connections, splitting every line takes too long
            _before, found, rest = text.partition(f" {pair} {_ESTABLISHED} ")
            columns = rest.split(None, 6)
            # A socket that its process has closed has no inode, and is listed as root's.
            if found and columns[5] != "0":
                return int(columns[3])
    return None


def _hex_address(address: tuple[str, int], *, mapped: bool) -> str:
    """An address as the table has it: 32-bit words in the machine's byte order, then the port."""
    parsed = ipaddress.ip_address(address[0].partition("%")[0])
    if mapped and parsed.version == 4:
        parsed = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + parsed.packed)
    packed = parsed.packed
    words = [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4)]
    return "".join(f"{word:08X}" for word in words) + f":{address[1]:04X}"
