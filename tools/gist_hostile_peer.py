"""The attacker of `fuzz_signalling`: datagrams, handshakes that end in hostile texts, and streams of every bad kind."""

import contextlib
import socket
import struct
import time
from collections import Counter, deque
from random import Random
from typing import Final

from netserv.errors import NetservError
from netserv.signaling.gist.addresses import GIST_PORT, packed
from netserv.signaling.gist.config import NSLP_NETSERV, GistConfig
from netserv.signaling.gist.messages import Confirm, Data, MaHello, Query, Response
from netserv.signaling.gist.stacks import Stacks
from netserv.signaling.gist.wire import MAGIC, decode, encode
from netserv.signaling.nslp.text import padded
from tools.gist_mutations import any_datagram, flow, golden, hostile_text, mutated, some_message, some_nli

STREAMS: Final = 0.02
"Of all that is sent."
CONVERSATIONS: Final = 0.005
"Each with ten messages."
TEXTS: Final = 10
OPEN_MAX: Final = 32
"Connections that are left open; the oldest is closed for a new one."
ANSWER_S: Final = 0.2
_STACKS: Final = Stacks(GistConfig())
_RESET: Final = struct.pack("ii", 1, 0)
TLS_PORT: Final = 271
_RECORDS: Final = (bytes.fromhex("160301ffff01"), bytes.fromhex("802e010002"), bytes.fromhex("15030300020228"))
"A handshake that is longer than it may be, a hello of SSL 2, and an alert."


class Attacker:
    """Sends, and counts what it sends and what comes back.

    Args:
        own: IPv4 address of this host.
        node: that of the node.
        receiver: of a host behind it.
        rng: of all chance.
    """

    def __init__(self, own: str, node: str, receiver: str, rng: Random) -> None:
        self._node, self._receiver, self._rng = node, receiver, rng
        self._source, self._destination = packed(own), packed(receiver)
        self._known = golden()
        self._open: deque[socket.socket] = deque()
        self.counters: Counter[str] = Counter()
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((own, 0))
        self._sock.setblocking(False)

    def step(self) -> int:
        """Do one thing; how many datagrams or streams that was."""
        what = self._rng.random()
        if what < STREAMS:
            self._stream()
            return 1
        if what < STREAMS + CONVERSATIONS:
            return self._conversation()
        to = self._node if self._rng.random() < 0.8 else self._receiver
        self._send(any_datagram(self._rng, self._source, self._destination, self._known), to)
        if self.counters["datagrams"] % 64 == 0:
            self._drain()
        return 1

    def close(self) -> None:
        """Close everything."""
        for sock in (*self._open, self._sock):
            sock.close()

    def _send(self, payload: bytes, to: str) -> None:
        try:
            self._sock.sendto(payload[:65_000], (to, GIST_PORT))
            self.counters["datagrams"] += 1
            self.counters["bytes"] += len(payload) + 28
        except OSError:  # an ICMP error of an earlier one, or one that is too large to be sent
            self.counters["not_sent"] += 1

    def _drain(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self._sock.recv(65_535))
            except BlockingIOError:
                break
            except OSError:
                continue
        self.counters["answers"] += len(found)
        self.counters["answered_bytes"] += sum(len(one) + 28 for one in found)
        return found

    # Handshakes that are in order.

    def _query(self, *, stacks: bool) -> tuple[Query, Response | None]:
        offer = _STACKS.offer(secure=False) if stacks else (None, None)
        query = Query(
            nslp_id=NSLP_NETSERV,
            mri=flow(self._source, self._destination),
            sid=self._rng.randbytes(16),
            nli=some_nli(self._rng, self._source),
            query_cookie=self._rng.randbytes(16),
            stack_proposal=offer[0],
            stack_configuration=offer[1],
        )
        self._drain()
        self._send(MAGIC + encode(query), self._receiver)
        end = time.monotonic() + ANSWER_S
        while time.monotonic() < end:
            for data in self._drain():
                with contextlib.suppress(NetservError):
                    message = decode(data[len(MAGIC) :])
                    if isinstance(message, Response) and message.query_cookie == query.query_cookie:
                        return query, message
            time.sleep(0.001)
        return query, None

    def _confirm(self, query: Query, response: Response, text: bytes | None) -> bytes:
        stacks = response.stack_proposal is not None
        return encode(
            Confirm(
                nslp_id=NSLP_NETSERV,
                mri=query.mri,
                sid=query.sid,
                nli=query.nli,
                responder_cookie=response.responder_cookie,
                stack_proposal=response.stack_proposal,
                stack_configuration=_STACKS.hold if stacks else None,
                nslp_data=text,
            )
        )

    def _conversation(self) -> int:
        """A session with texts of the NSLP, by datagrams or on a connection."""
        on_connection = self._rng.random() < 0.5
        query, response = self._query(stacks=on_connection)
        if response is None:
            self.counters["unanswered"] += 1
            return 1
        self.counters["handshakes"] += 1
        texts = [padded(hostile_text(self._rng)) for _ in range(TEXTS)]
        if on_connection:
            data = self._confirm(query, response, texts[0])
            data += b"".join(encode(self._data(query, text, datagram=False)) for text in texts[1:])
            self._connect(GIST_PORT, [data])
        else:
            self._send(MAGIC + self._confirm(query, response, padded(texts[0][:1_200])), self._node)
            for text in texts[1:]:
                self._send(MAGIC + encode(self._data(query, padded(text[:1_200]), datagram=True)), self._node)
        self.counters["texts"] += TEXTS
        return TEXTS

    def _data(self, query: Query, text: bytes, *, datagram: bool) -> Data:
        nli = query.nli if datagram else None
        return Data(nslp_id=NSLP_NETSERV, mri=query.mri, sid=query.sid, nli=nli, nslp_data=text)

    # Streams.

    def _stream(self) -> None:
        rng = self._rng
        self.counters["streams"] += 1
        match rng.randrange(8):
            case 0:
                self._connect(GIST_PORT, [rng.randbytes(rng.randrange(2_000))])
            case 1:  # huge lengths, of which little comes
                self._connect(GIST_PORT, [struct.pack("!BBHHBB", 1, 1, 0xFFFF, NSLP_NETSERV, 3, 0x80), bytes(9_000)])
            case 2:
                self._connect(GIST_PORT, [rng.choice(self._known)] * 20)
            case 3:  # a good beginning, cut anywhere
                query, response = self._query(stacks=True)
                if response is not None:
                    whole = self._confirm(query, response, None) + encode(MaHello()) * 5
                    self._connect(GIST_PORT, [whole[: rng.randrange(len(whole))]])
            case 4:  # a good beginning, then rubbish
                query, response = self._query(stacks=True)
                if response is not None:
                    try:
                        rubbish = encode(some_message(rng, self._source, self._destination))
                    except NetservError:
                        rubbish = rng.choice(self._known)
                    rest = [mutated(rng, rubbish, self._known) for _ in range(30)]
                    self._connect(GIST_PORT, [self._confirm(query, response, None), *rest])
            case 5:
                self._connect(TLS_PORT, [rng.randbytes(rng.randrange(1, 2_000))])
            case 6:  # a TLS record that says more than comes, or another kind of hello
                self._connect(TLS_PORT, [rng.choice(_RECORDS), rng.randbytes(100)])
            case _:  # one byte, and silence
                self._connect(rng.choice((GIST_PORT, TLS_PORT)), [rng.randbytes(1)])

    def _connect(self, port: int, parts: list[bytes]) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(0.5)
        try:
            sock.connect((self._node, port))
            for part in parts:
                sock.sendall(part)
            self.counters["stream_bytes"] += sum(map(len, parts))
        except OSError:
            self.counters["cut"] += 1
        if self._rng.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.close()
            return
        self._open.append(sock)
        if len(self._open) > OPEN_MAX:
            self._open.popleft().close()


def generate(own: str, node: str, receiver: str, count: int, rng: Random, per_s: float) -> dict[str, int]:
    """Send so many; what was sent and what came back.

    Args:
        own: IPv4 address of this host.
        node: of the node.
        receiver: of a host behind it.
        count: of datagrams and streams.
        rng: of all chance.
        per_s: at most so many a second.
    """
    attacker = Attacker(own, node, receiver, rng)
    begun, done = time.monotonic(), 0
    while done < count:
        done += attacker.step()
        ahead_s = done / per_s - (time.monotonic() - begun)
        if ahead_s > 0.01:
            time.sleep(ahead_s)
    attacker.close()
    return dict(attacker.counters)
