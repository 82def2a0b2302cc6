"""What the peers of a node under load send: messages of any number of sessions, each written once and then filled in.

A peer that ran the whole codec would cost more than the node that is measured. The marks of a template are replaced by
bytes of the same length, so that a message costs a microsecond or two.
"""

import random
from typing import Final

import msgspec

from netserv.signaling.gist.addresses import PackedAddress, packed
from netserv.signaling.gist.config import NSLP_NETSERV
from netserv.signaling.gist.messages import Confirm, Data, Message, Query, Response
from netserv.signaling.gist.objects.mri import PathCoupledMri
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.tlv import ObjectType, place_of
from netserv.signaling.gist.wire import MAGIC, encode

DESTINATIONS: Final = "10.64.0.0"
"First of the hosts that sessions lead to: a publisher's server signals towards each of its users."
PREFIX: Final = 10
SESSIONS_MAX: Final = 1 << 22
"Hosts of that prefix."
VALIDITY_S: Final = 30.0
"Of routing state, as RFC 5971 recommends."
IP_TTL: Final = 64
_FIRST: Final = int.from_bytes(packed(DESTINATIONS), "big")
_SID: Final = bytes(range(100, 116))
_COOKIE: Final = bytes(range(150, 166))
_HOST: Final = bytes(range(200, 204))
_BEHIND_HEAD: Final = 4
_RESPONDER_COOKIE_BYTES: Final = 32
_MASK: Final = (1 << 64) - 1
_SPREAD: Final = 0x9E3779B97F4A7C15
"Odd, so that no two sessions have the same one."
_GATHER: Final = pow(_SPREAD, -1, 1 << 64)


class Template:
    """A message with marks in it, each of them there once."""

    def __init__(self, message: Message, *marks: bytes) -> None:
        self._data = MAGIC + encode(message)
        self._places = [slice(at, at + len(mark)) for mark in marks for at in (self._data.index(mark),)]

    def filled(self, *values: bytes) -> bytes:
        """The message with these in place of the marks."""
        data = bytearray(self._data)
        for place, value in zip(self._places, values, strict=True):
            data[place] = value
        return bytes(data)


class Reading:
    """Where the objects of a message stand: the same place in all messages of the same length from the same peer."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, int], slice | None] = {}

    def value(self, datagram: bytes, kind: int) -> bytes | None:
        """The value of an object; None where there is none."""
        key = (len(datagram), kind)
        if key not in self._places:
            found = place_of(datagram[len(MAGIC) :], kind)
            shift = len(MAGIC)
            place = None if found is None else slice(found.start + shift + _BEHIND_HEAD, found.stop + shift)
            self._places[key] = place
        place = self._places[key]
        return None if place is None else datagram[place]


def host(session: int) -> PackedAddress:
    """Where a session leads to."""
    return (_FIRST + 1 + session).to_bytes(4, "big")


def address_of(session: int) -> str:
    """The same as text."""
    return f"10.{64 + (session + 1 >> 16)}.{session + 1 >> 8 & 255}.{session + 1 & 255}"


class Sids:
    """Session identifiers, random and the same in each run of the same seed."""

    def __init__(self, seed: int) -> None:
        self._key = random.Random(seed).getrandbits(64).to_bytes(8, "big")

    def __getitem__(self, session: int) -> bytes:
        return self._key + (session * _SPREAD & _MASK).to_bytes(8, "big")

    def index(self, sid: bytes) -> int:
        """The session that has it."""
        return int.from_bytes(sid[8:], "big") * _GATHER & _MASK


def mri_to(source: PackedAddress, destination: PackedAddress) -> PathCoupledMri:
    """All packets from one host to another."""
    return PathCoupledMri(source=source, destination=destination, source_prefix=32, destination_prefix=32)


class Upstream:
    """A querying node with many sessions, all of them towards one next node.

    Args:
        address: its own; where the flows begin, too.
        seed: of the session identifiers.
        validity_s: of routing state.
    """

    def __init__(self, address: PackedAddress, seed: int, validity_s: float = VALIDITY_S) -> None:
        self.sids = Sids(seed)
        self.reading = Reading()
        mri = mri_to(address, _HOST)
        nli = Nli(peer_identity=b"left".ljust(16), address=address, ip_ttl=IP_TTL, validity_ms=round(validity_s * 1000))
        self._nli, self._mri = nli, mri
        query = Query(nslp_id=NSLP_NETSERV, mri=mri, sid=_SID, nli=nli, query_cookie=_COOKIE)
        self._query = Template(query, _SID, _HOST, _COOKIE)
        self._confirms: dict[int, Template] = {}

    def query(self, session: int) -> bytes:
        """A Query; its cookie begins with the number of the session, by which the Response is known again."""
        cookie = session.to_bytes(4, "big") * 4
        return self._query.filled(self.sids[session], host(session), cookie)

    def session_of(self, response: bytes) -> int:
        """The session of a Response."""
        cookie = self.reading.value(response, ObjectType.QUERY_COOKIE) or b""
        return int.from_bytes(cookie[:4], "big")

    def confirm(self, session: int, response: bytes) -> bytes | None:
        """The Confirm that a Response wants; None where it wants none."""
        cookie = self.reading.value(response, ObjectType.RESPONDER_COOKIE)
        if cookie is None:
            return None
        template = self._confirms.get(len(cookie))
        if template is None:
            mark = bytes(range(len(cookie)))
            message = Confirm(nslp_id=NSLP_NETSERV, mri=self._mri, sid=_SID, nli=self._nli, responder_cookie=mark)
            template = self._confirms[len(cookie)] = Template(message, _SID, _HOST, mark)
        return template.filled(self.sids[session], host(session), cookie)

    def data(self, session: int, payload: bytes) -> bytes:
        """NSLP data, of whole words."""
        message = Data(
            nslp_id=NSLP_NETSERV,
            mri=mri_to(self._mri.source, host(session)),
            sid=self.sids[session],
            nli=self._nli,
            nslp_data=payload,
        )
        return MAGIC + encode(message)


class Downstream:
    """The responding node that all flows lead to.

    Args:
        address: its own.
        source: where the flows begin.
        validity_s: of routing state.
    """

    def __init__(self, address: PackedAddress, source: PackedAddress, validity_s: float = VALIDITY_S) -> None:
        self.reading = Reading()
        nli = Nli(peer_identity=b"right".ljust(16), address=address, ip_ttl=0, validity_ms=round(validity_s * 1000))
        self._nli = nli
        first = Response(
            nslp_id=NSLP_NETSERV,
            wants_confirm=True,
            mri=mri_to(source, _HOST).inverted(),
            sid=_SID,
            nli=nli,
            query_cookie=_COOKIE,
            responder_cookie=bytes(_RESPONDER_COOKIE_BYTES),
        )
        again = msgspec.structs.replace(first, wants_confirm=False, responder_cookie=None)
        self._first, self._again = (Template(message, _SID, _HOST, _COOKIE) for message in (first, again))
        self._known = bytearray(SESSIONS_MAX)
        "By the number of the host: a set of session identifiers would be part of what is measured."

    def response(self, query: bytes) -> bytes:
        """The answer to a Query: the first one of a session wants a Confirm."""
        sid = self.reading.value(query, ObjectType.SID) or b""
        mri = self.reading.value(query, ObjectType.MRI) or b""
        cookie = self.reading.value(query, ObjectType.QUERY_COOKIE) or b""
        number = int.from_bytes(mri[8:12], "big") - _FIRST
        template = self._again if self._known[number] else self._first
        self._known[number] = 1
        return template.filled(sid, mri[8:12], cookie)

    def back(self, data: bytes, payload: bytes) -> bytes:
        """NSLP data back up, of whole words, in the session of other data."""
        mri = self.reading.value(data, ObjectType.MRI) or b""
        message = Data(
            nslp_id=NSLP_NETSERV,
            mri=mri_to(mri[4:8], mri[8:12]).inverted(),
            sid=self.reading.value(data, ObjectType.SID) or b"",
            nli=self._nli,
            nslp_data=payload,
        )
        return MAGIC + encode(message)
