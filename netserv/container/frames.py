"""Frames of `messages.py` on a SOCK_SEQPACKET pair, with file descriptors beside them (unix(7), SCM_RIGHTS).

One packet is one frame is one msgpack value. Both ends of the pair use this file, so it imports nothing that a
container must not have. Sockets that do not block raise BlockingIOError as ever; who waits for them is above.
"""

import socket
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from netserv.container.descriptors import close_all, receive
from netserv.container.descriptors import send as send_packet
from netserv.container.messages import FRAME_MAX, AttachRing, Connected, FromContainer, Load, ToContainer
from netserv.errors import LocalProtocolError, RemoteProtocolError, UnreachableError

DESCRIPTORS_MAX: Final = 32
"Beside one frame: listening sockets of a module; the kernel stops at 253 (SCM_MAX_FD)."
RING_DESCRIPTORS: Final = 3
"Memory, wake-up of the container, wake-up of the broker."

_encoder: Final = msgspec.msgpack.Encoder()
_to_container: Final[msgspec.msgpack.Decoder[ToContainer]] = msgspec.msgpack.Decoder(ToContainer)
_from_container: Final[msgspec.msgpack.Decoder[FromContainer]] = msgspec.msgpack.Decoder(FromContainer)
_Message = TypeVar("_Message")


def encode(message: ToContainer | FromContainer) -> bytes:
    """A message as one frame.

    Raises:
        LocalProtocolError: longer than `FRAME_MAX`; shorten its text.
    """
    data = _encoder.encode(message)
    if len(data) > FRAME_MAX:
        raise LocalProtocolError(
            f"a frame {type(message).__name__} of {len(data)} bytes; at most {FRAME_MAX}: shorten its text"
        )
    return data


def decode_to_container(data: bytes) -> ToContainer:
    """What the node says.

    Raises:
        RemoteProtocolError: no such frame.
    """
    return _decode(_to_container, data)


def decode_from_container(data: bytes) -> FromContainer:
    """What a container says, and may lie about.

    Raises:
        RemoteProtocolError: no such frame.
    """
    return _decode(_from_container, data)


def descriptors_of(message: ToContainer | FromContainer) -> int:
    """How many file descriptors travel beside a message."""
    match message:
        case AttachRing():
            return RING_DESCRIPTORS
        case Load(ports=ports):
            return len(ports)
        case Connected(error=""):
            return 1
        case _:
            return 0


def send(sock: socket.socket, message: ToContainer | FromContainer, descriptors: Sequence[int] = ()) -> None:
    """Send a message; the descriptors stay open here.

    Raises:
        LocalProtocolError: too long, or not the descriptors that go with it.
        UnreachableError: the other end is closed.
        BlockingIOError: the socket does not block, and its buffer is full.
    """
    data = encode(message)
    wanted = descriptors_of(message)
    if len(descriptors) != wanted or wanted > DESCRIPTORS_MAX:
        name = type(message).__name__
        raise LocalProtocolError(
            f"{len(descriptors)} descriptors beside {name}, which has {wanted}; at most {DESCRIPTORS_MAX}"
        )
    try:
        send_packet(sock, data, descriptors, socket.MSG_NOSIGNAL)
    except ConnectionError as error:
        raise UnreachableError("the other end of the container's socket is closed") from error


def receive_to_container(sock: socket.socket) -> tuple[ToContainer, list[int]] | None:
    """In the container: the next message of the node, and the descriptors beside it, which are the caller's to close.

    Returns:
        None once the node has closed its end.

    Raises:
        RemoteProtocolError: no such frame, or not the descriptors that go with it; those that came are closed.
        BlockingIOError: nothing there.
    """
    packet = _receive(sock, DESCRIPTORS_MAX + 1)
    if packet is None:
        return None
    data, descriptors = packet
    try:
        message = decode_to_container(data)
    except RemoteProtocolError:
        close_all(descriptors)
        raise
    wanted = descriptors_of(message)
    if len(descriptors) != wanted:
        close_all(descriptors)
        raise RemoteProtocolError(f"{len(descriptors)} descriptors beside {type(message).__name__}, which has {wanted}")
    return message, descriptors


def receive_from_container(sock: socket.socket) -> FromContainer | None:
    """In the node: the next message of a container. The kernel takes no descriptor in that a container sends.

    Returns:
        None once the container has closed its end.

    Raises:
        RemoteProtocolError: no such frame, or descriptors beside it.
        BlockingIOError: nothing there.
    """
    packet = _receive(sock, 0)
    return None if packet is None else decode_from_container(packet[0])


def _receive(sock: socket.socket, most: int) -> tuple[bytes, list[int]] | None:
    try:
        data, descriptors, flags = receive(sock, FRAME_MAX, most)
    except ConnectionError:
        return None  # ended with words of ours unread
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(descriptors) > DESCRIPTORS_MAX:
        close_all(descriptors)
        what = "descriptors" if flags & socket.MSG_CTRUNC or descriptors else "bytes"
        raise RemoteProtocolError(f"a frame with more {what} than are taken")
    if not data:
        # An empty packet cannot be told from the end, and is none of ours.
        close_all(descriptors)
        return None
    return data, descriptors


def _decode(decoder: "msgspec.msgpack.Decoder[_Message]", data: bytes) -> _Message:
    try:
        return decoder.decode(data)
    # Not text, nested deeper than the interpreter goes, or a list that says it has 2^32 members.
    except (msgspec.MsgspecError, ValueError, RecursionError, MemoryError) as error:
        raise RemoteProtocolError(f"no frame of a container: {str(error)[:200] or type(error).__name__}") from error
