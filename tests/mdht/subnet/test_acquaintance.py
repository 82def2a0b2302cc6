from collections import Counter
from random import Random

import pytest

from dhtboot.ids import Address
from mdht.subnet.acquaintance import Acquaintance, Sender
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_messages import Knock, OverlayDatagram
from mdht.subnet.face_nodes import NodeTable, contact
from mdht.subnet.hostset_handout import Own
from mdht.subnet.identity import named
from mdht.subnet.messages import HostRef, NodeEntry, Standing

OVERLAY = "lab"
ME, YOU, THIRD = named("me"), named("you"), named("third")
SOURCE: Address = ("128.59.0.9", 40000)
LISTED = HostRef(hid=b"hosthost", address=("128.59.0.9", 27183), age_s=0)
NODE = contact(YOU.node_id(OVERLAY))


class Host:
    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        me = ME.node_id(OVERLAY)
        self.nodes = NodeTable(me, OVERLAY, FaceConfig(), Random(1), set)
        own = Own(identity=ME, tag=b"my tag__", hid=b"me______", addresses=(), ready=True)
        self.refuted: list[Address] = []
        refute = self.refuted.append
        self.acquaintance = Acquaintance(self.nodes, refute, OVERLAY, me, lambda: own, self.counters)

    def hear(
        self, standing: Standing | None, *hosts: HostRef, tag: bytes = b"your tag", hearsay: bool = False
    ) -> Sender | None:
        told = NodeEntry(identity=YOU, tag=tag, view_epoch=3, size=2, hosts=hosts)
        third = NodeEntry(identity=THIRD, tag=b"thirdtag", view_epoch=1, size=1, hosts=(LISTED,))
        datagram = OverlayDatagram(
            identity=YOU,
            tag=tag,
            hid=b"speaker_",
            view_epoch=3,
            held=None,
            standing=standing,
            entry=told if hosts else None,
            named=(third,) if hearsay else (),
            body=Knock(number=1),
        )
        return self.acquaintance.learn(datagram, SOURCE, 0.0)

    def known(self) -> dict[bytes, Address]:
        node = self.nodes.get(NODE.address)
        return {} if node is None else {host.hid: host.address for host in node.usable}


def test_who_may_be_listed_is_known_from_then_on_where_it_is_seen() -> None:
    host = Host()
    assert host.hear(None, hearsay=True) == Sender(NODE, client=False)
    assert host.known() == {b"speaker_": SOURCE}
    assert len(host.nodes) == 2


@pytest.mark.parametrize("standing", Standing)
def test_who_may_not_is_a_client_unless_other_hosts_of_its_node_are_known(standing: Standing) -> None:
    host = Host()
    assert host.hear(standing, hearsay=True) == Sender(NODE, client=True)
    assert (host.known(), len(host.nodes)) == ({}, 0), "and its hearsay is not believed"
    expected = Sender(NODE, client=standing is Standing.CLIENT)
    assert host.hear(standing, LISTED) == expected
    assert host.known() == ({} if standing is Standing.CLIENT else {LISTED.hid: LISTED.address})
    assert host.counters["from_clients"] == (1 if standing is Standing.UNLISTED else 2)


def test_a_client_of_a_known_node_changes_nothing_of_what_is_known() -> None:
    host = Host()
    host.hear(None, LISTED)
    assert host.hear(Standing.CLIENT) == Sender(NODE, client=True)
    assert host.known() == {LISTED.hid: LISTED.address}


def test_an_unlisted_host_of_another_founding_is_a_stranger() -> None:
    host = Host()
    host.hear(None, LISTED)
    assert host.hear(Standing.UNLISTED, tag=b"othertag") is None
    assert host.counters["strangers"] == 1
    assert [entry.tag for entry in host.nodes.claims] == [b"othertag"], "which it may turn out not to be"
