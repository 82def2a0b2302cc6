"""Strategies for the datagrams between subnets, and one fixed example of each for the published vectors."""

from typing import Any, Final

from hypothesis import strategies as st

from dhtboot.chord import messages as chord
from dhtboot.ids import NodeRef, id_bytes
from dhtboot.kademlia import messages as kademlia
from mdht.messages import Get, Got, Pushed
from mdht.records import Copy, Record
from mdht.subnet.face_known import MARKS_BYTES_MAX
from mdht.subnet.face_messages import (
    NAMED_MAX,
    Asked,
    Body,
    Carried,
    Contest,
    Contested,
    HostsChanged,
    HostsHeard,
    ItIs,
    Knock,
    Noted,
    Occupied,
    OverlayDatagram,
    Probe,
    Prove,
    Taken,
    Told,
    Trying,
    TryMe,
    TryThem,
    Welcome,
    WhoIs,
)
from mdht.subnet.face_nodes import pseudo_address
from mdht.subnet.identity import Identity, Kind
from mdht.subnet.messages import HostRef, NodeEntry, Reason, Standing
from tests.dhtboot.strategies import addresses, cookies, id_blobs, ids, words
from tests.mdht.record_messages import answers, notes, questions
from tests.mdht.subnet.link_messages import eights, entries, identities, tuples, u8, u32, u64

OVERLAY = "office"


def node(number: int) -> NodeRef:
    return NodeRef(number, pseudo_address(number))


nodes = st.builds(node, ids)
CHORD_MESSAGES: dict[type, st.SearchStrategy[Any]] = {
    chord.FindSuccessor: st.builds(chord.FindSuccessor, id_blobs, tuples(id_blobs, 8)),
    chord.Successors: st.builds(chord.Successors, tuples(nodes, 16), st.sampled_from(chord.Step), u8),
    chord.Route: st.builds(chord.Route, id_blobs, st.none() | nodes, u8),
    chord.JoinRequest: st.builds(chord.JoinRequest, st.none() | nodes, u8),
    chord.JoinReply: st.builds(chord.JoinReply, st.none() | nodes, st.booleans(), tuples(nodes, 16)),
    chord.NewSuccessorHint: st.builds(chord.NewSuccessorHint, nodes),
    chord.Stabilize: st.just(chord.Stabilize()),
    chord.Predecessor: st.builds(chord.Predecessor, st.none() | nodes),
    chord.Notify: st.builds(chord.Notify, st.none() | nodes),
    chord.Notified: st.builds(chord.Notified, tuples(nodes, 16)),
    chord.Ping: st.just(chord.Ping()),
    chord.Pong: st.just(chord.Pong()),
    chord.Tell: st.builds(chord.Tell, st.text(max_size=20)),
    chord.Leaving: st.builds(chord.Leaving, st.none() | nodes, tuples(nodes, 16)),
    chord.Refused: st.just(chord.Refused()),
}
KADEMLIA_MESSAGES: dict[type, st.SearchStrategy[Any]] = {
    kademlia.Ping: st.just(kademlia.Ping()),
    kademlia.Pong: st.builds(kademlia.Pong, st.binary(max_size=18), cookies),
    kademlia.FindNode: st.builds(kademlia.FindNode, id_blobs, words),
    kademlia.Nodes: st.builds(kademlia.Nodes, tuples(nodes, NAMED_MAX), words, cookies),
    kademlia.Tell: st.builds(kademlia.Tell, st.text(max_size=20)),
    kademlia.Busy: st.builds(kademlia.Busy, st.floats(0, 1e6)),
    kademlia.Leaving: st.just(kademlia.Leaving()),
}
BODY_VALUES: dict[type, st.SearchStrategy[Any]] = {
    Taken: st.builds(Taken, request_id=u64),
    WhoIs: st.builds(WhoIs, number=u64, node_id=id_blobs),
    ItIs: st.builds(ItIs, number=u64),
    Knock: st.builds(Knock, number=u64),
    Welcome: st.builds(Welcome, number=u64, ring_id=eights, alone=st.booleans(), seen=st.none() | addresses),
    HostsChanged: st.builds(HostsChanged, number=u64, reason=st.sampled_from(Reason)),
    HostsHeard: st.builds(HostsHeard, number=u64, before=st.none() | id_blobs),
    Prove: st.builds(Prove, cookie=eights),
    TryMe: st.builds(TryMe, number=u64, address=st.none() | addresses),
    Trying: st.builds(Trying, number=u64, seen=addresses),
    TryThem: st.builds(TryThem, number=u64, address=addresses),
    Probe: st.builds(Probe, number=u64, address=addresses),
    # The other fields of these datagrams take any size here, which those of a face do not.
    Asked: st.builds(Asked, number=u64, question=questions(0)),
    Told: st.builds(Told, number=u64, answer=answers(0)),
    Noted: st.builds(Noted, note=notes(0)),
    Occupied: st.just(Occupied()),
    Contest: st.builds(Contest, age_s=u32),
    Contested: st.builds(Contested, age_s=u32, other_age_s=u32),
}


BODIES: Final = CHORD_MESSAGES | KADEMLIA_MESSAGES | BODY_VALUES
"What a datagram is about: a message stands for the packet that carries it."


@st.composite
def bodies(draw: st.DrawFn, sender: bytes, of: st.SearchStrategy[Any]) -> Body:
    """Such a body, or a packet from this node around such a message."""
    body = draw(of)
    if type(body) in BODY_VALUES:
        return body
    packet: Any = chord.Packet(sender, draw(u64), body)
    if type(body) in KADEMLIA_MESSAGES:
        packet = kademlia.Packet(sender, draw(u64), body, draw(cookies))
    return Carried(packet=packet, reply_to=draw(st.none() | addresses))


@st.composite
def datagrams(draw: st.DrawFn) -> OverlayDatagram:
    """With anything that a datagram may tell of its sender and of others."""
    identity = draw(identities)
    return OverlayDatagram(
        identity=identity,
        tag=draw(eights),
        hid=draw(eights),
        view_epoch=draw(u32),
        held=draw(st.none() | u32),
        entry=draw(st.none() | entries),
        named=draw(tuples(entries, 3)),
        cookie=draw(st.none() | eights),
        marks=draw(st.none() | st.binary(max_size=MARKS_BYTES_MAX)),
        standing=draw(st.none() | st.sampled_from(Standing)),
        body=draw(bodies(id_bytes(identity.node_id(OVERLAY)), st.one_of(*BODIES.values()))),
    )


LAB = Identity(Kind.NAME, b"lab")
ME = id_bytes(LAB.node_id(OVERLAY))
ENTRY = NodeEntry(
    identity=Identity(Kind.PREFIX_6, bytes(range(17)), b"saltsalt"),
    tag=b"tagtag_2",
    view_epoch=9,
    size=12,
    hosts=(
        HostRef(hid=b"hosthost", address=("192.0.2.7", 27183), age_s=4, fails=1, rtt_ms=50),
        HostRef(hid=b"othehost", address=("2001:db8::7", 27183), age_s=0),
    ),
)


def datagram(body: Body, **more: Any) -> OverlayDatagram:
    fields: dict[str, Any] = {"identity": LAB, "tag": b"tagtagta", "hid": b"hosthost", "view_epoch": 9, "held": None}
    return OverlayDatagram(**fields | more, body=body)


COPY = Copy(Record(bytes(range(20)), b"w" * 32, b"name", 5, 300, False, b"value", b"s" * 64), 2.5)
FIND = chord.FindSuccessor(bytes(range(20)), (bytes(20),))
NODES = kademlia.Nodes((node(1 << 159), node(77)), "answer", b"cookie_8")
EXAMPLES = {
    "Carried by Chord": datagram(
        Carried(packet=chord.Packet(ME, 7, FIND), reply_to=("192.0.2.9", 4000)), marks=b"marks_"
    ),
    "Carried by Kademlia": datagram(
        Carried(packet=kademlia.Packet(ME, 1 << 63, NODES)), held=4, entry=ENTRY, named=(ENTRY, ENTRY)
    ),
    "Taken": datagram(Taken(request_id=7)),
    "WhoIs": datagram(WhoIs(number=8, node_id=bytes(range(20)))),
    "ItIs": datagram(ItIs(number=8), named=(ENTRY,)),
    "Knock": datagram(Knock(number=9), identity=Identity(Kind.RANDOM, b"random" * 2 + b"four", b"saltsalt")),
    "Welcome": datagram(Welcome(number=9, ring_id=b"ringring", alone=True, seen=("192.0.2.8", 40000)), entry=ENTRY),
    "HostsChanged": datagram(HostsChanged(number=9, reason=Reason.DEATH), entry=ENTRY, held=0),
    "HostsHeard": datagram(HostsHeard(number=9, before=bytes(range(20)))),
    "Asked": datagram(Asked(number=7, question=Get(bytes(range(20)), 3))),
    "Told": datagram(Told(number=7, answer=Got((COPY,), 4, 1 << 63))),
    "Noted": datagram(Noted(note=Pushed((COPY,)))),
    "Prove": datagram(Prove(cookie=b"cookie_1"), cookie=b"cookie_2"),
    "Occupied": datagram(Occupied(), named=(ENTRY,)),
    "Contest": datagram(Contest(age_s=86_400), identity=ENTRY.identity),
    "Contested": datagram(Contested(age_s=90, other_age_s=86_400), identity=ENTRY.identity),
    "TryMe": datagram(TryMe(number=7, address=("192.0.2.8", 27183)), standing=Standing.CLIENT),
    "Trying": datagram(Trying(number=7, seen=("192.0.2.8", 40000)), standing=Standing.UNLISTED),
    "TryThem": datagram(TryThem(number=7, address=("192.0.2.8", 27183))),
    "Probe": datagram(Probe(number=7, address=("192.0.2.8", 27183))),
}
FAR = node((1 << 160) - 1)
FULL_ENTRY = NodeEntry(
    identity=Identity(Kind.NAME, b"x" * 64, b"saltsalt"),
    tag=b"tagtagta",
    view_epoch=9,
    size=8,
    hosts=(HostRef(hid=b"hosthost", address=("2001:db8::7", 27183), age_s=4),) * 8,
)
