"""Packets of an overlay's core as they travel from face to face: msgpack as between single nodes, but shorter.

A contact is its 20-byte identifier, since the address that the core has for it follows from that. The sender is left
out, since it follows from the identity in the same datagram.
"""

from typing import Any, Final

import msgspec

from dhtboot.ids import ID_BYTES, NodeRef, id_bytes, id_from
from dhtboot.kademlia.messages import Nodes
from mdht.subnet.errors import WireError
from mdht.subnet.face_messages import NAMED_MAX
from mdht.subnet.face_nodes import contact

_REQUEST_ID_MAX: Final = (1 << 64) - 1


def _encode_hook(value: Any) -> Any:
    if type(value) is NodeRef:
        return id_bytes(value.id)
    raise NotImplementedError(f"no wire form for {type(value).__name__}")


def _decode_hook(kind: type, value: Any) -> Any:
    if kind is NodeRef and type(value) is bytes and len(value) == ID_BYTES:
        return contact(id_from(value))
    raise ValueError(f"a contact is {ID_BYTES} bytes")


class PacketForm:
    """How the packets of one wire union are written and read.

    Args:
        packet_type: a parametrised `Packet` of Chord or of Kademlia, with what the layer above says.
    """

    def __init__(self, packet_type: Any) -> None:
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_encode_hook)
        self._decoder = msgspec.msgpack.Decoder(packet_type, dec_hook=_decode_hook)

    def encode(self, packet: Any, sender: bytes) -> bytes:
        """The bytes of a packet from a node with that identifier.

        Raises:
            ValueError: it is from another node, or `decode` would refuse it.
        """
        if packet.sender != sender:
            raise ValueError(f"a packet from {packet.sender.hex()} in a datagram from {sender.hex()}")
        fault = _fault(packet)
        if fault is not None:
            raise ValueError(fault)
        return self._encoder.encode(msgspec.structs.replace(packet, sender=b""))

    def decode(self, data: bytes, sender: bytes) -> Any:
        """The packet of a node with that identifier.

        Raises:
            WireError: anything is wrong with the bytes. Nothing else is raised.
        """
        try:
            packet = self._decoder.decode(data)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise WireError(str(error)) from error
        fault = "a packet that names its sender" if packet.sender else _fault(packet)
        if fault is not None:
            raise WireError(fault)
        return msgspec.structs.replace(packet, sender=sender)


def _fault(packet: Any) -> str | None:
    """What is wrong with a packet beyond what its type says; the lists of Chord have their limit in their type."""
    if not 0 <= packet.request_id <= _REQUEST_ID_MAX:
        return f"{packet.request_id} is no request id: it has 64 bits"  # it travels alone as well, in `Taken`
    message = packet.message
    if type(message) is Nodes and len(message.nodes) > NAMED_MAX:
        return f"{len(message.nodes)} contacts in one packet, at most {NAMED_MAX} are named"
    return None
