"""What passes over a daemon's control socket: msgpack in frames, one request and one reply for each connection."""

import struct
from typing import Annotated, Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from netserv.errors import (
    LocalProtocolError,
    NetservError,
    RemoteProtocolError,
    SystemRefusedError,
    UnreachableError,
)
from netserv.signaling.status import Status

REQUEST_MAX: Final = 65_536
"Bytes of a request: the text of the largest one has 8 KiB (the NSLP's limit)."
REPLY_MAX: Final = 16_777_216
"Bytes of a reply: a status with some ten thousand sessions."
TIMEOUT_MAX_S: Final = 600.0
"Longest wait for an answer; Queries that nobody answers end after 63.5 s at the latest, at each node of the path."

_LENGTH: Final = struct.Struct("!I")

Address: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=4, max_length=16)]


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag_field="request", tag="ask"):
    """Send a request along the path to a host, and tell what the nodes on it answer."""

    text: bytes
    "As it goes out."
    destination: Address
    source: Address | None = None
    "Address of this machine that the flow begins at; None: the one that the route there has."
    reliable: bool = True
    "By associations; else by datagrams where the message is short enough."
    timeout_s: Annotated[float, msgspec.Meta(gt=0.0, le=TIMEOUT_MAX_S)] = 60.0
    sid: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)] | None = None
    "Session of several requests; None: one for this request."


class GetStatus(msgspec.Struct, frozen=True, tag_field="request", tag="status"):
    """Tell how the daemon stands."""


Request: TypeAlias = Ask | GetStatus


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag_field="reply", tag="answer"):
    """What the nodes on a path say."""

    text: bytes
    "Of the response, as it came."
    elapsed_s: float
    "From sending the request to the response."


class StatusReply(msgspec.Struct, frozen=True, tag_field="reply", tag="status"):
    """How the daemon stands."""

    status: Status


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag_field="reply", tag="failed"):
    """Nothing came of the request."""

    kind: str
    "Whose fault it is: `local`, `remote`, `unreachable`, `system` or `other`."
    text: str


Reply: TypeAlias = Answer | StatusReply | Failed

_KINDS: Final[dict[str, type[NetservError]]] = {
    "local": LocalProtocolError,
    "remote": RemoteProtocolError,
    "unreachable": UnreachableError,
    "system": SystemRefusedError,
}
_ENCODER: Final = msgspec.msgpack.Encoder()

MessageT = TypeVar("MessageT", bound=Any)


def failed(error: NetservError) -> Failed:
    """An error as a reply."""
    kind = next((kind for kind, each in _KINDS.items() if isinstance(error, each)), "other")
    return Failed(kind=kind, text=str(error))


def error_of(reply: Failed) -> NetservError:
    """The error that a reply tells of."""
    return _KINDS.get(reply.kind, NetservError)(reply.text)


def frame(message: Request | Reply) -> bytes:
    """A message with its length before it."""
    data = _ENCODER.encode(message)
    return _LENGTH.pack(len(data)) + data


class FrameReader(Generic[MessageT]):
    """Puts the one message of a connection together.

    Args:
        decoder: of the messages that may come.
        size_max: bytes of a message.
    """

    def __init__(self, decoder: msgspec.msgpack.Decoder[MessageT], size_max: int) -> None:
        self._decoder, self._size_max = decoder, size_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> MessageT | None:
        """Take bytes; the message once it is whole.

        Raises:
            LocalProtocolError: they are not such a message.
        """
        self._buffer += data
        if len(self._buffer) < _LENGTH.size:
            return None
        (size,) = _LENGTH.unpack_from(self._buffer)
        if size > self._size_max:
            raise LocalProtocolError(f"a frame of {size} bytes, at most {self._size_max} are allowed")
        if len(self._buffer) < _LENGTH.size + size:
            return None
        if len(self._buffer) > _LENGTH.size + size:
            raise LocalProtocolError("bytes after the message: one request for each connection")
        try:
            message: MessageT = self._decoder.decode(memoryview(self._buffer)[_LENGTH.size :])
            return message
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise LocalProtocolError(f"not a message of the control socket: {error}") from error


def request_reader() -> FrameReader[Request]:
    """For the daemon."""
    return FrameReader(msgspec.msgpack.Decoder(Request), REQUEST_MAX)


def reply_reader() -> FrameReader[Reply]:
    """For its callers."""
    return FrameReader(msgspec.msgpack.Decoder(Reply), REPLY_MAX)
