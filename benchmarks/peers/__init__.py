"""The programs that are compared, by the names they are asked for with."""

from peers.base import Job, Peer
from peers.llamafactory import LlamaFactory
from peers.ours import Ours
from peers.swift import Swift
from peers.trl import Trl, TrlAsShipped

PEERS: dict[str, Peer] = {peer.key: peer for peer in (Trl(), TrlAsShipped(), Swift(), LlamaFactory())}

__all__ = ["PEERS", "Job", "Ours", "Peer"]
