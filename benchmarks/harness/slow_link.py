"""A slow link that loses packets: two TUN devices, one in a network namespace of its own, and a relay between them.

What `tc netem` does, for kernels without it: packets are real, and TCP sends lost ones again. Needs root (or
CAP_NET_ADMIN), ip and /dev/net/tun.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from typing import Final, Self

_TUNSETIFF: Final = 0x400454CA  # linux/if_tun.h
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000


class SlowLink(threading.Thread):
    """A link from `here` to `there`, an address in the network namespace `name`; a context that removes it.

    Args:
        name: of the namespace; at most 12 characters, as devices are called after it.
        here, there: addresses of its two ends, in one /30 network.
        round_trip: seconds, half of it in each direction.
        loss: share of the packets of each direction that are dropped.
        seed: of what is dropped.
    """

    def __init__(self, name: str, here: str, there: str, *, round_trip: float, loss: float, seed: int = 1) -> None:
        super().__init__(daemon=True)
        self.link, self._addresses = name, (here, there)
        self._delay, self._loss, self._dice = round_trip / 2, loss, random.Random(seed)
        self._ended = threading.Event()
        self.packets, self.dropped = 0, 0

    def __enter__(self) -> Self:
        name, (here, there) = self.link, self._addresses
        self._fds = [_open_tun(f"{name}a"), _open_tun(f"{name}b")]
        for command in (
            f"ip netns add {name}",
            f"ip link set {name}b netns {name}",
            f"ip addr add {here}/30 dev {name}a",
            f"ip link set {name}a up",
            f"ip netns exec {name} ip addr add {there}/30 dev {name}b",
            f"ip netns exec {name} ip link set {name}b up",
        ):
            subprocess.run(command.split(), check=True)
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        self.join()
        for fd in self._fds:
            os.close(fd)  # which removes the devices
        subprocess.run(["ip", "netns", "del", self.link], capture_output=True)

    def run(self) -> None:
        waiting: list[tuple[float, int, int, bytes]] = []  # when, number, to which device, packet
        while not self._ended.is_set():
            timeout = min(max(waiting[0][0] - time.monotonic(), 0.0), 0.1) if waiting else 0.1
            ready, _, _ = select.select(self._fds, [], [], timeout)
            for fd in ready:
                packet, other = os.read(fd, 1 << 16), self._fds[fd == self._fds[0]]
                self.packets += 1
                if self._dice.random() < self._loss:
                    self.dropped += 1
                else:
                    heapq.heappush(waiting, (time.monotonic() + self._delay, self.packets, other, packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, fd, packet = heapq.heappop(waiting)
                try:
                    os.write(fd, packet)
                except OSError:  # the device is not up yet
                    self.dropped += 1


def _open_tun(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return fd
