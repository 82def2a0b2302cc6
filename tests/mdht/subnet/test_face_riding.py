from typing import Any

import pytest

from dhtboot.effects import Send
from dhtboot.ids import id_bytes
from dhtboot.kademlia import messages as kademlia
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.overlay import packet_type
from mdht.messages import Get, Got
from mdht.records import Copy, Record
from mdht.subnet.face import Face
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_messages import RIDING_ROOM, Carried, OverlayDatagram
from mdht.subnet.face_riding import Riding
from mdht.subnet.framing import DATAGRAM_MAX
from mdht.subnet.overlay_wire import OverlayCodec
from mdht.wire import copy_bytes
from tests.mdht.subnet.face_network import OVERLAY
from tests.mdht.subnet.hostset_nodes import NOW
from tests.mdht.subnet.test_face_parts import datagram_of, entry_of, face_of, node_of

KEY = bytes(range(20))
KNOWN = 9


def copy_of(room: int) -> Copy:
    """The largest copy that has room there."""
    empty = Copy(Record(KEY, b"w" * 32, b"", 1, 600, False, b"", b"s" * 64), 600.0)
    value = bytes(room - copy_bytes(empty))
    return Copy(Record(KEY, b"w" * 32, b"", 1, 600, False, value, b"s" * 64), 600.0)


def answering(size: int, *, ipv6: bool = False) -> Face:
    """A face that knows some nodes, and holds a copy of so many bytes."""
    face = face_of(FaceConfig())
    riding = Riding()
    riding.on_riding = lambda get, _now: Got((copy_of(size),), 1, 7) if get.key == KEY else None
    face.core._application = riding  # type: ignore[assignment]
    for number in range(1, KNOWN):
        entry = entry_of(number, ipv6=ipv6)
        body = Carried(packet=kademlia.Packet(id_bytes(node_of(number).id), 7, kademlia.Ping()))
        face.receive(datagram_of(number, body, entry=entry), entry.hosts[0].address, NOW)
    return face


def found_by(face: Face, key: bytes = KEY) -> OverlayDatagram:
    find: Any = kademlia.FindNode(key, Get(key))
    packet = kademlia.Packet(id_bytes(node_of(1).id), 9, find)
    effects = face.receive(datagram_of(1, Carried(packet=packet)), entry_of(1).hosts[0].address, NOW + 1.0)
    [answer] = [one.packet for one in effects if isinstance(one, Send) and isinstance(one.packet.body, Carried)]
    codec = OverlayCodec(OVERLAY, packet_type(KademliaConfig(), None, Get, Got))
    data = codec.encode(answer)
    assert len(data) <= DATAGRAM_MAX
    assert codec.decode(data) == answer
    return answer


def test_an_answer_rides_beside_contacts_and_their_hosts() -> None:
    answer = found_by(answering(250))
    assert answer.body.packet.message.answer == Got((copy_of(250),), 1, 7)
    assert len(answer.named) == len(answer.body.packet.message.nodes) == KNOWN - 2


def test_who_has_nothing_at_hand_names_contacts_only() -> None:
    assert found_by(answering(250), bytes(20)).body.packet.message.answer is None


@pytest.mark.parametrize("ipv6", [False, True])
def test_contacts_keep_their_hosts_where_there_is_no_room_for_both(ipv6: bool) -> None:
    answer = found_by(answering(RIDING_ROOM, ipv6=ipv6))
    assert answer.body.packet.message.answer is None
    assert len(answer.named) == len(answer.body.packet.message.nodes) == KNOWN - 2
