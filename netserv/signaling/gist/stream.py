"""Messages on an association: they follow each other on the stream without a mark (RFC 5971 section 5.4.2)."""

from typing import Final

from netserv.signaling.gist.errors import ErrorCode, GistError, HeaderFault
from netserv.signaling.gist.header import VERSION
from netserv.signaling.gist.tlv import HEADER_SIZE, wrong_length

MESSAGE_MAX: Final = 16_384
"Bytes of one message: an NSLP response of full size fits; the length field would allow 262,148."


class StreamCutter:
    """Cuts a stream into messages; it holds one unfinished message, and what came last.

    Args:
        message_max: bytes that a message may have, with its header.
    """

    def __init__(self, message_max: int = MESSAGE_MAX) -> None:
        self._message_max = message_max
        self._buffer = bytearray()

    @property
    def rest(self) -> bytes:
        """What has come of the next message; after an error it begins with the header at fault."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the stream.

        Returns:
            The messages that they complete, each from its common header on.

        Raises:
            GistError: a header has another version, or a length over the limit, so that nothing behind it can be
                found; the connection is of no use any more. Messages that were completed before it are returned
                first, and the next call raises.
        """
        self._buffer += data
        messages: list[bytes] = []
        at = 0
        try:
            while size := self._size_of_next(at):
                messages.append(bytes(self._buffer[at : at + size]))
                at += size
        except GistError:
            if not messages:
                raise
        del self._buffer[:at]
        return messages

    def _size_of_next(self, at: int) -> int:
        """Bytes of the message that begins there; 0 where its end has not come."""
        buffer = self._buffer
        if len(buffer) > at and buffer[at] != VERSION:
            raise GistError(
                f"GIST version {buffer[at]} on an association, known is {VERSION}",
                code=ErrorCode.COMMON_HEADER_PARSE_ERROR,
                subcode=HeaderFault.VERSION,
            )
        if len(buffer) < at + HEADER_SIZE:
            return 0
        size = HEADER_SIZE + 4 * (buffer[at + 2] << 8 | buffer[at + 3])
        if size > self._message_max:
            error = wrong_length(bytes(buffer[at : at + HEADER_SIZE]))
            text = f"a message of {size:,} bytes on an association, where {self._message_max:,} are taken"
            raise GistError(text, code=error.code, subcode=error.subcode, info=error.info)
        return size if len(buffer) >= at + size else 0
