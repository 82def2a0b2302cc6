"""Makes the datagrams of a face: what is told of own hosts and of those of other nodes, as far as there is room."""

from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from dhtboot.effects import Send
from dhtboot.ids import Address, NodeRef
from mdht.subnet.bounded import remember
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_known import is_marked, marks_of, read_marks
from mdht.subnet.face_messages import (
    Body,
    Carried,
    OverlayDatagram,
    entry_bytes,
    entry_bytes_min,
    fitting,
    head_bytes,
    marks_bytes,
    packet_bytes,
    record_bytes,
    riding_bytes,
)
from mdht.subnet.face_nodes import NodeTable
from mdht.subnet.face_packets import named_in, without_answer
from mdht.subnet.gate import Gate, is_answer
from mdht.subnet.hostset import in_private, reaches
from mdht.subnet.hostset_handout import Own, asker_name, set_for, wants_set
from mdht.subnet.messages import NodeEntry, Standing
from mdht.subnet.push import Peer
from mdht.subnet.view import View


class Speech:
    """What one host says to hosts of other nodes.

    Args:
        nodes: those whose hosts are known.
        own: what this host tells of itself, now.
        view: the members of its subnet.
        config: limits.
        rng: unpredictable.
        around: gives nodes that the answer to a request of the core may name.

    Attributes:
        gate: who is listened to.
        held: of which epoch of this node's hosts a host of another one is known to have the set.
    """

    def __init__(
        self,
        nodes: NodeTable,
        own: Callable[[], Own],
        view: View,
        config: FaceConfig,
        rng: Random,
        around: Callable[[Any], list[NodeRef]],
    ) -> None:
        self.gate = Gate(own, rng, 0.0)
        self.held: OrderedDict[Address, int | None] = OrderedDict()
        self._nodes = nodes
        self._own = own
        self._view = view
        self._config = config
        self._around = around
        self._marked: tuple[Any, bytes | None] = (None, None)
        "The last request, which a lookup sends to many nodes, and its marks."

    def note_held(self, address: Address, epoch: int | None) -> None:
        """A host of another node has the set of that epoch; None for none: it gets one with the next datagram."""
        remember(self.held, address, epoch, self._config.held_max)

    def datagram(
        self,
        to: Address,
        peer: Peer,
        body: Body,
        now: float,
        entries: list[NodeEntry] | None = None,
        marks: bytes | None = None,
    ) -> Send:
        """One datagram to a host of the node of a pseudo-address.

        Args:
            to: the pseudo-address; any other one where the node is not known.
            peer: the host.
            body: what it is about.
            now: the time.
            entries: hosts to be told beside it, where the body is not a packet, which names its own.
            marks: of the request that a packet answers.
        """
        own = self._own()
        room = self._config.datagram_max - head_bytes(own.identity)
        entry = known = None
        if isinstance(body, Carried):
            contacts = named_in(body.packet.message)
            known = self._marks_for(body.packet.message, now)
            entries = self.named([contact for contact in contacts if contact.id != peer.node_id], now, marks)
            room -= packet_bytes(len(contacts)) + marks_bytes(known)
            riding = riding_bytes(body.packet)
            if riding and riding + sum(map(entry_bytes_min, entries)) > room:
                # Without their hosts the contacts are of no use, while for the records somebody can be asked again.
                body, riding = Carried(packet=without_answer(body.packet)), 0
            room -= riding
        allow_private = self._config.hosts.allow_private or in_private(peer.address)
        standing = own.standing(allow_private=allow_private)
        epoch = self._view.epoch if self._config.hosts.pull else 0
        if standing is not Standing.CLIENT and wants_set(self.held.get(peer.address), epoch):
            asker = asker_name(peer.node_id, peer.hid)
            entry = set_for(asker, own, self._view, now, allow_private=allow_private)
            nobody = standing is not None and not entry.hosts
            if nobody or entry_bytes(entry) > room - record_bytes(body):
                entry = None  # with the next datagram that has no records
            else:
                room -= entry_bytes(entry)
        hosts_max = self._config.named_hosts if isinstance(body, Carried) or not entries else len(entries[0].hosts)
        remote = self._nodes.get(to)
        datagram = OverlayDatagram(
            identity=own.identity,
            tag=own.tag,
            hid=own.hid,
            view_epoch=self._view.epoch,
            held=None if remote is None else remote.epoch,
            standing=standing,
            entry=entry,
            named=fitting(_told(entries or [], allow_private=allow_private), room, hosts_max),
            marks=known,
            body=body,
        )
        if not self._config.verify:
            return Send(peer.address, datagram)
        # A host without a name waits for the answer to what others have passed on.
        return self.gate.outgoing(datagram, peer.address, now, awaited=is_answer(body) and peer.hid != b"")

    def _marks_for(self, message: Any, now: float) -> bytes | None:
        if self._marked[0] is not message:
            self._marked = (message, marks_of(self._nodes, self._around(message), now) or None)
        return self._marked[1]

    def named(self, contacts: list[NodeRef], now: float, marks: bytes | None = None) -> list[NodeEntry]:
        """What is known of the hosts of some nodes, but of those that an asker has marked."""
        known = read_marks(marks or b"")
        entries: list[NodeEntry] = []
        for contact in contacts:
            node = self._nodes.get(contact.address) if self._nodes.knows(contact) else None
            if node is not None and not is_marked(known, contact.id, node):
                entries.append(node.entry(now, self._nodes.rtt))
        return [entry for entry in entries if entry.hosts]


def _told(entries: list[NodeEntry], *, allow_private: bool) -> list[NodeEntry]:
    """Without the hosts that mean nothing to whoever is told, and nodes of which then none is left."""
    if allow_private:
        return entries
    told = []
    for entry in entries:
        hosts = tuple([host for host in entry.hosts if reaches(host.address, allow_private=False)])
        if len(hosts) == len(entry.hosts):
            told.append(entry)
        elif hosts:
            told.append(msgspec.structs.replace(entry, hosts=hosts))
    return told
