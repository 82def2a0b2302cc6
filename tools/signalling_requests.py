"""The PROBEs that go through a node under load, and what the last node says to them."""

import random
from typing import Final

from mdht.signing import SigningKey
from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.nslp import requests, responses
from netserv.signaling.nslp.codes import Code
from netserv.signaling.nslp.requests import Probe
from netserv.signaling.nslp.responses import Response, StackEntry
from netserv.signaling.nslp.signing import signed
from netserv.signaling.nslp.text import padded, unpadded
from netserv.signaling.nslp.values import Flow
from tools.signalling_bytes import Sids, host

PUBLISHER: Final = "alice"
GOOD_FOR_S: Final = 600
"What is signed is good for so long: for a whole run on a slow machine."
_NONCE: Final = b"\nnonce:"
_NONCE_DIGITS: Final = 32


class Requests:
    """Requests of one source.

    Args:
        seed: of keys and nonces.
        source: where the flows begin.
        unix_now: the wall clock of the nodes, s.
        is_signed: by the publisher of `publishers`.
        long: they declare their sessions long.
    """

    def __init__(
        self, seed: int, source: PackedAddress, *, unix_now: int = 0, is_signed: bool = False, long: bool = False
    ) -> None:
        self._nonces = Sids(seed + 1)
        self._key = SigningKey.from_seed(random.Random(seed).randbytes(32)) if is_signed else None
        self._source, self._expires, self._long = source, unix_now + GOOD_FOR_S, long

    @property
    def publishers(self) -> dict[str, tuple[bytes, ...]]:
        """Whose keys a node has to know."""
        return {} if self._key is None else {PUBLISHER: (self._key.public_key,)}

    def text(self, session: int) -> bytes:
        """The request of a session, of whole words."""
        probe = Probe(
            items=("status",),
            user=None if self._key is None else PUBLISHER,
            nonce=self._nonces[session],
            expires=self._expires,
            flow=Flow(self._source, host(session)),
            long_session=self._long,
        )
        return padded(requests.encode(probe if self._key is None else signed(probe, self._key)))


def answer(request: bytes, address: PackedAddress) -> bytes:
    """What the last node, which has that address, says to a request."""
    text = unpadded(request)
    at = text.index(_NONCE) + len(_NONCE)
    entry = StackEntry(node_id="last", address=address, hops=0, code=Code.OK, lines=(("status", "well"),))
    nonce = bytes.fromhex(text[at : at + _NONCE_DIGITS].decode())
    return padded(responses.encode(Response(target=None, request=nonce, code=Code.OK, stack=(entry,))))
