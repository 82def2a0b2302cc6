r"""Answers keep-alives with the server's source address, so that they never reach it (thesis 7.3).

What comes is a datagram to the server that begins as a keep-alive. What is one goes no further: in its place goes the
answer, back to the user agent. Anything else passes as it is.

| keep-alive | answer |
|---|---|
| SIP `NOTIFY`, `Event: keep-alive` | `200 OK` |
| `\r\n\r\n` (RFC 5626) | `\r\n` |
| `\r\n`, as PJSIP sends it | `\r\n` |
| four zero bytes | the same |
| STUN binding request | binding response |

Only an answer that could be taken for a keep-alive itself might have two nodes answer each other. It has the hops that
the keep-alive had left, so that this ends.
"""

import secrets
from collections.abc import Sequence
from ipaddress import ip_address

from netserv.modules.api import ACCEPT, Activator, Answer, Context, Packet
from netserv.modules.blocks.sip_plain import PlainResponder, plain_response

# The container loads these files as a package, as they are in the suite: so it is told by a dot which are meant.
from . import stun

ZEROS = bytes(4)
PING, PONG = b"\r\n\r\n", b"\r\n"
_CRLFS = frozenset({PING, PONG})
UDP = 17
_NOTIFY = b"NOTIFY", b"keep-alive", b"200 OK"
"Nothing but a keep-alive (RFC 6665), and its answer."


class KeepAlive(Activator):
    """Sees the packets to the server that begin as a keep-alive."""

    def start(self, context: Context) -> None:
        """Prepare; packets come afterwards."""
        # Section 19.3 of RFC 3261: tags are random and nobody else's; section 8.2.7: the same for each repetition.
        self._responder = PlainResponder(*_NOTIFY, secrets.token_hex(4).encode())
        count = context.metrics.counter
        self._notify, self._crlf, self._zero = count("notify"), count("crlf"), count("zero")
        self._stun, self._passed = count("stun"), count("passed")
        context.log.info("answering keep-alives")

    def process_batch(self, packets: Sequence[Packet]) -> Sequence[Answer]:
        """Answer keep-alives; let all else pass."""
        answers, notifies = self._responder.answers(packets, self._to_other)
        self._notify.add(notifies)
        return answers

    def _to_other(self, packet: Packet) -> Answer:
        if packet.proto != UDP:
            return ACCEPT
        data = packet.payload.tobytes()
        if data in _CRLFS:
            self._crlf.add()
            return _echo(packet, PONG)
        if data == ZEROS:
            self._zero.add()
            return _echo(packet, ZEROS)
        answer = self._to_stun(packet, data)
        if answer is None:
            self._passed.add()
            return ACCEPT
        return answer

    def _to_stun(self, packet: Packet, data: bytes) -> Answer | None:
        response = stun.answer(data, packet.src, packet.sport)
        if response is None:
            return None
        self._stun.add()
        return packet.reply(response)


def _echo(packet: Packet, data: bytes) -> bytearray:
    return packet.reply(data, ttl=max(1, packet.ttl - 1))


def is_keep_alive(data: bytes, source: tuple[str, int]) -> bool:
    """Whether the module would answer a datagram: for who looks out for user agents that it is to be deployed towards.

    Args:
        data: its payload.
        source: where it came from.
    """
    if data in _CRLFS or data == ZEROS:
        return True
    if data[:1] == b"N":
        return plain_response(data, *source, *_NOTIFY, b"") is not None
    return stun.answer(data, ip_address(source[0]).packed, source[1]) is not None
