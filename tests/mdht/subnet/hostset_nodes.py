"""Nodes, sets and hosts of a laboratory, for the tests of host sets."""

from random import Random
from typing import Final

from dhtboot.ids import Address
from mdht.subnet.hostset import Learnt, RemoteNode
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.identity import named
from mdht.subnet.messages import HostRef, NodeEntry

LAB: Final = HostSetConfig(allow_private=True)
NOW: Final = 10_000.0


def host_ref(number: int, age_s: int = 1, address: Address | None = None) -> HostRef:
    return HostRef(hid=b"host%4d" % number, address=address or (f"192.0.2.{number}", 4000), age_s=age_s)


def entry_of(epoch: int, *hosts: HostRef, size: int | None = None, tag: bytes = b"tagtagta") -> NodeEntry:
    return NodeEntry(
        identity=named("lab"), tag=tag, view_epoch=epoch, size=len(hosts) if size is None else size, hosts=hosts
    )


def node_with(*numbers: int, epoch: int = 5) -> RemoteNode:
    entry = entry_of(epoch, *[host_ref(number) for number in numbers])
    node = RemoteNode(entry, LAB)
    assert node.learn(entry, NOW, Random(1), firsthand=True) is Learnt.REPLACED
    return node


def learn(node: RemoteNode, entry: NodeEntry, *, firsthand: bool = True, now: float = NOW, seed: int = 1) -> Learnt:
    return node.learn(entry, now, Random(seed), firsthand=firsthand)
