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
from ipaddress import ip_address

from netserv.modules.api import ACCEPT, Activator, Answer, Context, Packet
from netserv.modules.blocks.sip_plain import plain_response

# The container loads these files as a package, as they are in the suite: so it is told by a dot which are meant.
from . import stun

ZEROS = bytes(4)
PING, PONG = b"\r\n\r\n", b"\r\n"
_CRLFS = frozenset({PING, PONG})
UDP = 17
ADDRESSES_MAX = 4_096
"User agents whose address is kept as a text, which takes longer to make than the rest of an answer."


class KeepAlive(Activator):
    """Sees the packets to the server that begin as a keep-alive."""

    def start(self, context: Context) -> None:
        """Prepare; packets come afterwards."""
        # Section 19.3 of RFC 3261: tags are random and nobody else's; section 8.2.7: the same for each repetition.
        self._salt = secrets.token_hex(4).encode()
        self._addresses: dict[bytes, str] = {}
        count = context.metrics.counter
        self._notify, self._crlf, self._zero = count("notify"), count("crlf"), count("zero")
        self._stun, self._passed = count("stun"), count("passed")
        context.log.info("answering keep-alives")

    def process(self, packet: Packet) -> Answer:
        """Answer a keep-alive; let all else pass."""
        if packet.proto != UDP:
            return ACCEPT
        data = packet.payload.tobytes()
        if data[:1] == b"N":
            answer = self._to_notify(packet, data)
        elif data in _CRLFS:
            self._crlf.add()
            answer = _echo(packet, PONG)
        elif data == ZEROS:
            self._zero.add()
            answer = _echo(packet, ZEROS)
        else:
            answer = self._to_stun(packet, data)
        if answer is None:
            self._passed.add()
            return ACCEPT
        return answer

    def _to_notify(self, packet: Packet, data: bytes) -> Answer | None:
        source, port = packet.src, packet.sport
        found = answer_to_notify(data, self._text(source), port, self._salt)
        if found is None:
            return None
        self._notify.add()
        response, to = found
        reply = packet.reply(response)
        return reply if to == port else Packet(memoryview(reply)).replaced(dport=to)

    def _to_stun(self, packet: Packet, data: bytes) -> Answer | None:
        response = stun.answer(data, packet.src, packet.sport)
        if response is None:
            return None
        self._stun.add()
        return packet.reply(response)

    def _text(self, address: bytes) -> str:
        text = self._addresses.get(address)
        if text is None:
            if len(self._addresses) >= ADDRESSES_MAX:
                self._addresses.clear()
            text = self._addresses[address] = str(ip_address(address))
        return text


def _echo(packet: Packet, data: bytes) -> bytearray:
    return packet.reply(data, ttl=max(1, packet.ttl - 1))


def answer_to_notify(data: bytes, address: str, port: int, salt: bytes) -> tuple[bytes, int] | None:
    """The `200 OK` to a NOTIFY that is nothing but a keep-alive (RFC 6665), and the port that it goes to."""
    return plain_response(data, address, port, b"NOTIFY", b"keep-alive", b"200 OK", salt)


def is_keep_alive(data: bytes, source: tuple[str, int]) -> bool:
    """Whether the module would answer a datagram: for who looks out for user agents that it is to be deployed towards.

    Args:
        data: its payload.
        source: where it came from.
    """
    if data in _CRLFS or data == ZEROS:
        return True
    if data[:1] == b"N":
        return answer_to_notify(data, *source, b"") is not None
    return stun.answer(data, ip_address(source[0]).packed, source[1]) is not None
