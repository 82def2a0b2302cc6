"""Datagrams: version byte, four bytes of the network's name, then msgpack of a packet. At most 1,200 bytes.

1,200 bytes pass every IPv6 path without fragments, as in QUIC (RFC 9000 section 14).
"""

import hashlib
from typing import Any, Final, Generic, TypeVar

import msgspec

from dhtboot.bootstrap_messages import BootstrapPacket
from dhtboot.compact import pack_node, unpack_node
from dhtboot.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from dhtboot.ids import ID_BYTES, NodeRef

MAX_DATAGRAM: Final = 1200
WIRE_VERSION: Final = 1
NETWORK_TAG_BYTES: Final = 4

P = TypeVar("P")


def network_tag(network: str) -> bytes:
    """The four bytes that keep overlays of different names apart."""
    return hashlib.sha1(network.encode(), usedforsecurity=False).digest()[:NETWORK_TAG_BYTES]


def _encode_hook(value: Any) -> Any:
    if type(value) is NodeRef:
        return pack_node(value)
    raise NotImplementedError(f"no wire form for {type(value).__name__}")


def _decode_hook(kind: type, value: Any) -> Any:
    if kind is NodeRef and type(value) is bytes:
        return unpack_node(value)
    raise RemoteProtocolError("a contact is not bytes")


class Codec(Generic[P]):
    """Bytes of packets of one wire union.

    Args:
        packet_type: a parametrised `Packet`, with the questions, answers and notes of the layer above.
        network: name of the overlay; packets of other names are refused.
    """

    def __init__(self, packet_type: type[P], *, network: str) -> None:
        self._prefix = bytes((WIRE_VERSION,)) + network_tag(network)
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_encode_hook)
        self._decoder: msgspec.msgpack.Decoder[P] = msgspec.msgpack.Decoder(packet_type, dec_hook=_decode_hook)

    def encode(self, packet: P) -> bytes:
        """The datagram of a packet.

        Raises:
            LocalProtocolError: it would be larger than 1,200 bytes.
        """
        data = self._prefix + self._encoder.encode(packet)
        if len(data) > MAX_DATAGRAM:
            raise LocalProtocolError(f"a packet of {len(data)} bytes; a datagram holds {MAX_DATAGRAM}")
        return data

    def decode(self, data: bytes) -> P:
        """The packet in a datagram.

        Raises:
            RemoteProtocolError: anything is wrong with the bytes; nothing else is ever raised.
        """
        prefix = self._prefix
        if data[: len(prefix)] != prefix:
            raise _refused_prefix(data)
        if len(data) > MAX_DATAGRAM:
            raise RemoteProtocolError(f"a datagram of {len(data)} bytes", code=ErrorCode.TOO_LARGE)
        try:
            packet = self._decoder.decode(memoryview(data)[len(prefix) :])
        except msgspec.ValidationError as error:
            code = ErrorCode.UNKNOWN_KIND if "Invalid value" in str(error) else ErrorCode.MALFORMED
            raise RemoteProtocolError(str(error), code=code) from error
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise RemoteProtocolError(str(error)) from error
        if len(packet.sender) not in (0, ID_BYTES):  # type: ignore[attr-defined]
            raise RemoteProtocolError("a sender is 20 bytes, or none")
        return packet


class PeerCodec:
    """Bytes of the packets of an overlay node and of its bootstrap client, which share one socket.

    Args:
        overlay: of the node's packets.
        bootstrap: of its client's; no tag of one union is of the other.
    """

    def __init__(self, overlay: Codec[Any], bootstrap: Codec[BootstrapPacket]) -> None:
        self._overlay = overlay
        self._bootstrap = bootstrap

    def encode(self, packet: Any) -> bytes:
        """The datagram of a packet of either."""
        return (self._bootstrap if type(packet) is BootstrapPacket else self._overlay).encode(packet)

    def decode(self, data: bytes) -> Any:
        """The packet in a datagram of either; refused as the overlay's codec refuses it."""
        try:
            return self._overlay.decode(data)
        except RemoteProtocolError as error:
            if error.code is not ErrorCode.UNKNOWN_KIND:
                raise
            try:
                return self._bootstrap.decode(data)
            except RemoteProtocolError:
                raise error from None


def _refused_prefix(data: bytes) -> RemoteProtocolError:
    if not data or data[0] != WIRE_VERSION:
        version = data[0] if data else None
        return RemoteProtocolError(f"wire version {version}, this node speaks {WIRE_VERSION}", code=ErrorCode.VERSION)
    return RemoteProtocolError("a packet of another network", code=ErrorCode.OTHER_NETWORK)
