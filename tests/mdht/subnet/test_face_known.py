from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtboot.effects import Send
from dhtboot.ids import id_bytes
from dhtboot.kademlia import messages as kademlia
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_known import MARK_BYTES, MARKS_MAX, is_marked, marks_of, read_marks
from mdht.subnet.face_messages import Carried
from mdht.subnet.face_nodes import NodeTable
from mdht.subnet.hostset import RemoteNode
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.identity import named
from mdht.subnet.messages import NodeEntry
from tests.mdht.subnet.face_network import OVERLAY
from tests.mdht.subnet.hostset_nodes import NOW
from tests.mdht.subnet.test_face_parts import datagram_of, entry_of, face_of, node_of


def table_of(*entries: NodeEntry, firsthand: bool = True) -> NodeTable:
    table = NodeTable(named("me").node_id(OVERLAY), OVERLAY, FaceConfig(), Random(1), set)
    for entry in entries:
        assert table.learn(entry, NOW, firsthand=firsthand) is not None
    return table


def node_at(epoch: int, tag: bytes = b"tagtagta") -> RemoteNode:
    entry = entry_of(1, tag=tag)
    told = NodeEntry(identity=entry.identity, tag=tag, view_epoch=epoch, size=1, hosts=entry.hosts)
    node = RemoteNode(told, HostSetConfig())
    node.learn(told, NOW, Random(1), firsthand=True)
    return node


@pytest.mark.parametrize(
    ("asker", "answerer", "marked"),
    [(5, 5, True), (6, 5, True), (5, 6, False), (3, 0xFFFF, True), (0xFFFF, 0x1_0003, False), (0, 0, True)],
)
def test_a_node_is_told_again_only_where_the_answerer_knows_a_later_epoch(
    asker: int, answerer: int, marked: bool
) -> None:
    contact = node_of(1)
    entry = entry_of(1)
    table = table_of(NodeEntry(identity=entry.identity, tag=entry.tag, view_epoch=asker, size=1, hosts=entry.hosts))
    marks = read_marks(marks_of(table, [contact], NOW))
    assert is_marked(marks, contact.id, node_at(answerer)) is marked


def test_another_founding_and_another_node_are_not_taken_for_the_marked_one() -> None:
    marks = read_marks(marks_of(table_of(entry_of(1)), [node_of(1)], NOW))
    assert not is_marked(marks, node_of(1).id, node_at(5, tag=b"Tagtagta"))
    assert not is_marked(marks, node_of(2).id, node_at(5))


def test_only_nodes_are_marked_of_which_enough_is_known() -> None:
    few = NodeEntry(identity=named("s2"), tag=b"tagtagta", view_epoch=5, size=5, hosts=entry_of(2, 2).hosts)
    table = table_of(entry_of(1, 3), few, entry_of(3))
    marked = read_marks(marks_of(table, [node_of(1), node_of(2), node_of(3), node_of(4)], NOW))
    assert len(marked) == 2, "of the second two of five hosts are known, of the fourth none"
    assert not read_marks(marks_of(table, [node_of(1)], NOW + 400.0)), "they may be gone meanwhile"
    silent = table.get(node_of(3).address)
    assert silent is not None
    silent.silent(entry_of(3).hosts[0].hid, NOW, NOW)
    silent.silent(entry_of(3).hosts[0].hid, NOW + 1.0, NOW + 1.0)
    assert not read_marks(marks_of(table, [node_of(3)], NOW)), "somebody may know others"


def test_a_request_has_so_many_marks_at_most() -> None:
    table = table_of(*[entry_of(number) for number in range(2 * MARKS_MAX)])
    assert len(marks_of(table, [node_of(number) for number in range(2 * MARKS_MAX)], NOW)) == MARKS_MAX * MARK_BYTES


@given(st.binary(max_size=200))
def test_any_bytes_are_marks(data: bytes) -> None:
    assert len(read_marks(data)) <= len(data) // MARK_BYTES


def test_an_answer_names_with_their_hosts_the_nodes_that_the_asker_does_not_know() -> None:
    face = face_of(FaceConfig())
    for number in (1, 2, 3):
        face.receive(datagram_of(number, ping(number)), entry_of(number).hosts[0].address, NOW)
    find = kademlia.FindNode[None](id_bytes(node_of(3).id))
    marks = marks_of(table_of(entry_of(2)), [node_of(2)], NOW)
    for told, of_asker in (({named("s2"), named("s3")}, None), ({named("s3")}, marks)):
        packet: kademlia.Packet[None, None, None] = kademlia.Packet(id_bytes(node_of(1).id), 9, find)
        request = datagram_of(1, Carried(packet=packet), marks=of_asker)
        [answer] = [
            one.packet
            for one in face.receive(request, entry_of(1).hosts[0].address, NOW + 1.0)
            if isinstance(one, Send) and isinstance(one.packet.body, Carried)
        ]
        assert {node.id for node in answer.body.packet.message.nodes} == {node_of(2).id, node_of(3).id}
        assert {entry.identity for entry in answer.named} == told


def ping(number: int) -> Carried:
    return Carried(packet=kademlia.Packet(id_bytes(node_of(number).id), 7, kademlia.Ping()))
