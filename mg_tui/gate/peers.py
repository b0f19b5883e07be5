"""Who is at the other end of a loopback connection: the user whose process opened it, as the kernel says."""

import ipaddress
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Final

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED: Final = "01"
# Of linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_ANY_STATE: Final = 0xFFFFFFFF
_ANY_SOCKET: Final = b"\0" * 4 + b"\xff" * 8  # any interface, and no cookie
_HEADER: Final = struct.Struct("=IHHII")
_SOCKET: Final = struct.Struct("=xBxx48xIIIII")  # state; expires, rqueue, wqueue, user, inode
_QUERY_SECONDS: Final = 0.2


def is_same_user(client: tuple[str, int], server: tuple[str, int]) -> bool:
    """Whether this user, or root, opened the connection from `client` to `server`, both addresses of this machine.

    False where the kernel has no such table: then a token is needed.
    """
    return peer_user(client, server) in (os.geteuid(), 0)


def peer_user(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """The user id of the process that opened a connection; None when it is unknown, or the socket was closed."""
    user = _user_by_query(client, server)
    return _user_by_table(client, server) if user is None else user


def _user_by_query(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """The same, by asking the kernel for this one socket (man 7 sock_diag): microseconds, where reading its table takes
    milliseconds of every request. None where it does not answer.
    """
    if not hasattr(socket, "AF_NETLINK"):
        return None
    source, target = (ipaddress.ip_address(address[0].partition("%")[0]) for address in (client, server))
    family = socket.AF_INET if source.version == 4 else socket.AF_INET6
    ports = struct.pack("!HH", client[1], server[1])
    addresses = source.packed.ljust(16, b"\0") + target.packed.ljust(16, b"\0")
    request = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, _ANY_STATE) + ports + addresses + _ANY_SOCKET
    header = struct.pack("=IHHII", _HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asked:
            asked.settimeout(_QUERY_SECONDS)
            asked.send(header + request)
            answer = asked.recv(4096)
        if _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:  # an error: there is no such socket
            return None
        state, _expires, _received, _sent, user, inode = _SOCKET.unpack_from(answer, _HEADER.size)
    except (OSError, struct.error):
        return None
    return user if state == int(_ESTABLISHED, 16) and inode else None


def _user_by_table(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """The same, from the table of all connections."""
    wanted = {(_hex_address(client, mapped=mapped), _hex_address(server, mapped=mapped)) for mapped in (False, True)}
    for table in _TABLES:
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split(None, 10)
            # A socket that its process has closed has no inode, and is listed as root's.
            if (columns[1], columns[2]) in wanted and columns[3] == _ESTABLISHED and columns[9] != "0":
                return int(columns[7])
    return None


def _hex_address(address: tuple[str, int], *, mapped: bool) -> str:
    """An address as the table has it: 32-bit words in the machine's byte order, then the port."""
    parsed = ipaddress.ip_address(address[0].partition("%")[0])
    if mapped and parsed.version == 4:
        parsed = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + parsed.packed)
    packed = parsed.packed
    words = [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4)]
    return "".join(f"{word:08X}" for word in words) + f":{address[1]:04X}"
