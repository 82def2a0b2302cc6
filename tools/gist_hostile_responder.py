"""The next node that nobody wants: answers Queries with what they ask for and more, and whatever connects to it.

Runs on the receiver of `fuzz_signalling`. Its Responses have the right cookie, so that a node believes them; stacks,
validity, identity, payload and what follows on the connection are made up.
"""

import contextlib
import selectors
import socket
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final

import msgspec

from netserv.errors import NetservError
from netserv.signaling.gist.addresses import GIST_PORT, packed
from netserv.signaling.gist.messages import Data, Error, MaHello, Message, Query, Response
from netserv.signaling.gist.objects.error_object import ErrorObject
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.objects.stack_configuration import ProtocolOption, StackConfiguration
from netserv.signaling.gist.objects.stack_proposal import StackProposal
from netserv.signaling.gist.wire import MAGIC, decode, encode
from netserv.signaling.nslp.text import padded
from tools.gist_mutations import golden, hostile_text, mutated

OPEN_MAX: Final = 64
PORTS: Final = (GIST_PORT, 9)
"Of its TCP: one that it listens on, and one that it does not."


class Responder:
    """Answers on UDP and TCP.

    Args:
        own: IPv4 address of this host.
        rng: of all chance.
    """

    def __init__(self, own: str, rng: Random) -> None:
        self._own, self._rng = packed(own), rng
        self._known = golden()
        self._identity = rng.randbytes(16)
        self.counters: Counter[str] = Counter()
        self._selector = selectors.DefaultSelector()
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((own, GIST_PORT))
        listener = socket.create_server((own, GIST_PORT), backlog=128)
        self._open: list[socket.socket] = []
        self._selector.register(self._udp, selectors.EVENT_READ, self._datagram)
        self._selector.register(listener, selectors.EVENT_READ, lambda: self._accept(listener))

    def serve(self, timeout_s: float) -> None:
        """Do what is to be done now, or wait so long for it."""
        for key, _events in self._selector.select(timeout_s):
            act: Callable[[], None] = key.data
            act()

    def _datagram(self) -> None:
        with contextlib.suppress(OSError, NetservError):
            data, source = self._udp.recvfrom(65_535)
            message = decode(data[len(MAGIC) :])
            if isinstance(message, Query):
                self.counters["queries"] += 1
                for answer in self._answers(message):
                    self._udp.sendto(MAGIC + answer, source)

    def _answers(self, query: Query) -> list[bytes]:
        rng = self._rng
        answer = encode(self._response(query))
        match rng.randrange(8):
            case 0:
                return []
            case 1:
                return [mutated(rng, answer, self._known)]
            case 2:
                return [answer] * 5
            case 3:
                return [encode(self._error(query))]
            case 4:
                return [answer, encode(self._data(query)), encode(self._error(query))]
            case _:
                return [answer]

    def _nli(self) -> Nli:
        rng = self._rng
        identity = self._identity if rng.random() < 0.5 else rng.randbytes(rng.choice((1, 16, 255)))
        validity_ms = rng.choice((1, 1_000, 30_000, 0xFFFF_FFFF))
        return Nli(peer_identity=identity, address=self._own, ip_ttl=rng.randrange(256), validity_ms=validity_ms)

    def _response(self, query: Query) -> Message:
        rng = self._rng
        proposal = configuration = None
        if query.stack_proposal is not None and rng.random() < 0.9:
            proposal = StackProposal(rng.choice((((1,),), ((2, 1), (1,)), ((7,),), ((1,),) * 60)))
            options = tuple(
                ProtocolOption(protocol=1, profile=number, data=rng.choice(PORTS).to_bytes(2, "big"))
                for number in range(1, len(proposal.profiles) + 1)
            )
            configuration = StackConfiguration(hold_time_ms=rng.choice((1, 30_000, 0xFFFF_FFFF)), options=options)
        return Response(
            nslp_id=query.nslp_id,
            wants_confirm=True,
            mri=query.mri.inverted(),
            sid=query.sid,
            nli=self._nli(),
            query_cookie=query.query_cookie,
            responder_cookie=rng.randbytes(4 * rng.randrange(1, 30)),
            stack_proposal=proposal,
            stack_configuration=configuration,
            nslp_data=padded(hostile_text(rng)[:300]) if rng.random() < 0.3 else None,
        )

    def _error(self, query: Query) -> Error:
        rng = self._rng
        about = ErrorObject(
            error_class=rng.randrange(5),
            code=rng.randrange(14),
            was_d_mode=True,
            was_q_mode=rng.random() < 0.5,
            original_header=encode(query)[:8],
            sid=query.sid,
            mri=query.mri.encode(),
        )
        return Error(nli=self._nli(), error=about)

    def _data(self, query: Query) -> Data:
        text = padded(hostile_text(self._rng)[:1_200])
        nli = msgspec.structs.replace(self._nli(), peer_identity=self._identity)
        return Data(nslp_id=query.nslp_id, mri=query.mri.inverted(), sid=query.sid, nli=nli, nslp_data=text)

    # Connections.

    def _accept(self, listener: socket.socket) -> None:
        sock, _peer = listener.accept()
        self.counters["connections"] += 1
        sock.settimeout(0.2)
        self._open.append(sock)
        self._selector.register(sock, selectors.EVENT_READ, lambda: self._stream(sock))
        if len(self._open) > OPEN_MAX:
            self._end(self._open[0])

    def _stream(self, sock: socket.socket) -> None:
        rng = self._rng
        try:
            data = sock.recv(65_536)
            if not data or rng.random() < 0.2:
                self._end(sock)
                return
            self.counters["stream_bytes"] += len(data)
            match rng.randrange(5):
                case 0:
                    sock.sendall(rng.randbytes(500))
                case 1:
                    sock.sendall(encode(MaHello(wants_reply=True, hello_id=1)) * 500)
                case 2:
                    sock.sendall(mutated(rng, rng.choice(self._known), self._known) * 20)
                case 3:
                    sock.sendall(data)  # an echo
                case _:
                    pass
        except OSError:
            self._end(sock)

    def _end(self, sock: socket.socket) -> None:
        with contextlib.suppress(ValueError, KeyError):
            self._open.remove(sock)
            self._selector.unregister(sock)
        sock.close()
