"""Broken, strange and hostile GIST messages and NSLP texts, each from a random generator that is handed in."""

import json
import struct
from pathlib import Path
from random import Random
from typing import Final

from netserv.errors import NetservError
from netserv.signaling.gist.config import NSLP_NETSERV, GistConfig
from netserv.signaling.gist.messages import Confirm, Data, Error, MaHello, Message, Query, Response
from netserv.signaling.gist.objects.error_object import ErrorObject
from netserv.signaling.gist.objects.mri import Area, Direction, LooseEndMri, Mri, OffPathMri, PathCoupledMri
from netserv.signaling.gist.objects.nat_traversal import NatTraversal
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.stacks import Stacks
from netserv.signaling.gist.wire import MAGIC, encode
from netserv.signaling.nslp.text import padded

VECTORS: Final = Path(__file__).parent.parent / "tests/netserv/signaling/gist/nsis_ka_vectors.json"
"What an independent implementation has sent."
_NUMBERS: Final = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x0FFF, 0x7FFF, 0x8000, 0xFFFF)
_STACKS: Final = Stacks(GistConfig())


def golden() -> list[bytes]:
    """Messages of the other implementation, without magic number."""
    found = json.loads(VECTORS.read_text())["vectors"]
    return [bytes.fromhex(one["payload_hex"]).removeprefix(MAGIC) for one in found]


def some_mri(rng: Random, source: bytes, destination: bytes) -> Mri:
    """A flow between two hosts, or something stranger."""
    direction = rng.choice(list(Direction))
    match rng.randrange(8):
        case 0:
            return LooseEndMri(source=source, destination=destination, direction=direction)
        case 1:
            area, radius = rng.choice(list(Area)), rng.randrange(1, 16)
            return OffPathMri(source=source, destination=destination, area=area, radius=radius, direction=direction)
        case 2:
            return PathCoupledMri(
                source=rng.randbytes(4),
                destination=destination,
                source_prefix=rng.randrange(33),
                destination_prefix=rng.randrange(33),
                direction=direction,
                protocol=17,
                source_port=rng.randrange(1 << 16),
                destination_port=rng.randrange(1 << 16),
            )
        case _:
            return flow(source, destination)


def flow(source: bytes, destination: bytes) -> PathCoupledMri:
    """All that goes from one host to another."""
    return PathCoupledMri(source=source, destination=destination, source_prefix=32, destination_prefix=32)


def some_nli(rng: Random, address: bytes) -> Nli:
    """Somebody at that address."""
    identity = rng.randbytes(rng.choice((1, 4, 16, 64, 255)))
    return Nli(peer_identity=identity, address=address, ip_ttl=64, validity_ms=rng.choice((1, 30_000, 0xFFFF_FFFF)))


def some_message(rng: Random, source: bytes, destination: bytes) -> Message:
    """One of any kind, in order by itself; what it says of cookies and sessions is made up."""
    sid, nli = rng.randbytes(16), some_nli(rng, source)
    mri = some_mri(rng, source, destination)
    data = padded(hostile_text(rng)[:1_200]) if rng.random() < 0.5 else None
    offer = _STACKS.offer(secure=rng.random() < 0.5) if rng.random() < 0.5 else (None, None)
    nat = None
    if rng.random() < 0.1:
        nat = NatTraversal(original_mri=mri.encode(), translated_types=(0, 2), opaque=(rng.randbytes(8),))
    match rng.randrange(6):
        case 0:
            return Query(
                nslp_id=NSLP_NETSERV,
                mri=mri,
                sid=sid,
                nli=nli,
                query_cookie=rng.randbytes(4 * rng.randrange(1, 9)),
                stack_proposal=offer[0],
                stack_configuration=offer[1],
                nslp_data=data,
                nat=nat,
            )
        case 1:
            return Response(
                nslp_id=NSLP_NETSERV,
                wants_confirm=True,
                mri=mri,
                sid=sid,
                nli=nli,
                query_cookie=rng.randbytes(16),
                responder_cookie=rng.randbytes(32),
                stack_proposal=offer[0],
                stack_configuration=offer[1],
                nslp_data=data,
                nat=nat,
            )
        case 2:
            return Confirm(nslp_id=NSLP_NETSERV, mri=mri, sid=sid, nli=nli, responder_cookie=rng.randbytes(36))
        case 3:
            explicit = rng.random() < 0.2
            return Data(
                nslp_id=NSLP_NETSERV,
                q_mode=not explicit and rng.random() < 0.5,
                explicitly_routed=explicit,
                mri=mri,
                sid=sid,
                nli=nli,
                nslp_data=data or b"data",
            )
        case 4:
            return Error(nli=nli, error=_some_error(rng, sid, mri))
        case _:
            return MaHello(wants_reply=True, hello_id=rng.randrange(1, 1 << 32))


def _some_error(rng: Random, sid: bytes, mri: Mri) -> ErrorObject:
    return ErrorObject(
        error_class=rng.randrange(5),
        code=rng.randrange(16),
        subcode=rng.randrange(8),
        was_d_mode=True,
        original_header=struct.pack("!BBHHBB", 1, 32, 20, NSLP_NETSERV, 0x80, 0xC0),
        sid=sid,
        mri=mri.encode(),
        comment="made up",
    )


def hostile_objects(rng: Random) -> bytes:
    """A good header of some kind, and objects whose types, flags and lengths lie."""
    body = bytearray()
    for _ in range(rng.randrange(1, 12)):
        value = rng.randbytes(4 * rng.randrange(20))
        kind = rng.choice((rng.randrange(12), rng.randrange(0x1000), 2_000)) | rng.randrange(4) << 14
        words = len(value) // 4 if rng.random() < 0.7 else rng.choice(_NUMBERS) & 0xFFFF
        body += struct.pack("!HH", kind, words) + value
    kind = rng.randrange(6) | (0x80 if rng.random() < 0.5 else 0)
    words = len(body) // 4 if rng.random() < 0.8 else rng.choice(_NUMBERS)
    return struct.pack("!BBHHBB", 1, rng.choice((0, 1, 32, 255)), words, NSLP_NETSERV, kind, 0xC0) + body


def mutated(rng: Random, data: bytes, others: list[bytes]) -> bytes:
    """A message in which one to four things are changed."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(changed)) if changed else 0
        match rng.randrange(8):
            case 0 if changed:
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if changed:
                changed[at] = rng.randrange(256)
            case 2:
                del changed[at:]
            case 3:
                changed += rng.randbytes(4 * rng.randrange(1, 9))
            case 4:
                changed[at : at + 2] = struct.pack("!H", rng.choice(_NUMBERS))
            case 5:
                del changed[at : at + 4 * rng.randrange(1, 5)]
            case 6:
                other = rng.choice(others)
                cut = 4 * rng.randrange(1 + len(other) // 4)
                changed[at & ~3 :] = other[cut:]
            case _:
                changed[at:at] = changed[at : at + 4 * rng.randrange(1, 9)]
    if rng.random() < 0.5 and len(changed) >= 8:  # so that more than the length is looked at
        del changed[len(changed) & ~3 :]
        struct.pack_into("!H", changed, 2, (len(changed) - 8) // 4 & 0xFFFF)
    return bytes(changed[:60_000])


_CLAIMS: Final = "nonce:{nonce}\nexpires:1800000060\nflow:10.0.0.1>10.9.0.1\nsignature:{signature}\n\n"
_MODULE: Final = "NetServ.apps.NetMonitor_1.0.0"
_BUNDLE: Final = "ttl:3600\nurl:http://10.0.0.1/x.zip\ndigest:sha256:{digest}"
_TEXTS: Final = (
    "PROBE * NETSERV/0.1\nprobe:status,load\n\n",
    f"PROBE {_MODULE} NETSERV/0.1\nprobe:status\nuser:alice\n{_CLAIMS}",
    f"SETUP {_MODULE} NETSERV/0.1\n{_BUNDLE}\nuser:alice\n{_CLAIMS}",
    f"REMOVE {_MODULE} NETSERV/0.1\nuser:alice\nsession:long\n{_CLAIMS}",
    "TRIGGER * NETSERV/0.1\nuser:alice\nbody-length:40\nsignature:{signature}\n\nPROBE * NETSERV/0.1\nprobe:status\n\n",
    "RESPONSE * NETSERV/0.1\nrequest:{nonce}\ncode:200\n\nnode-id:n\naddress:10.0.0.1\nhops:1\ncode:200\ntext:\n\n",
)


def hostile_text(rng: Random) -> bytes:
    """A text of the NSLP, or nearly: up to 16 KiB."""
    text = rng.choice(_TEXTS)
    for name, size in (("nonce", 16), ("digest", 32)):
        text = text.replace(f"{{{name}}}", rng.randbytes(size).hex())
    text = text.replace("{signature}", "QUFB" * 21 + "QQ==")
    data = bytearray(text.encode())
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data))
        match rng.randrange(8):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data[at:at] = b"\n"
            case 2:
                data[at:at] = rng.choice((b"\r\n", b"\0", b"\x1b[2J", b"\xff\xfe", "\u202e".encode(), b"::", b"\t"))
            case 3:
                data[at:at] = bytes([rng.choice(b"aZ9,;:=")]) * rng.choice((10, 70, 9_000, 16_000))
            case 4:
                data[at:at] = b"".join(b"x%d:y\n" % number for number in range(rng.choice((3, 70, 1_000))))
            case 5:
                del data[at : at + rng.randrange(1, 40)]
            case 6:
                data[at:at] = b"%d" % rng.choice((-1, 0, 1 << 31, 1 << 63, 10**400))
            case _:
                data[at:at] = data[: rng.randrange(len(data))]
        data = data[:16_000] or bytearray(b"x")
    return bytes(data)


def any_datagram(rng: Random, source: bytes, destination: bytes, known: list[bytes]) -> bytes:
    """A UDP payload of some kind.

    Args:
        rng: chance.
        source: own address, so that answers come back.
        destination: of flows.
        known: good messages of others, to be changed.
    """
    what = rng.random()
    if what < 0.1:
        return rng.randbytes(rng.randrange(600))
    if what < 0.2:
        return MAGIC + rng.randbytes(rng.randrange(300))
    if what < 0.4:
        return MAGIC + mutated(rng, rng.choice(known), known)
    if what < 0.55:
        return MAGIC + hostile_objects(rng)
    try:
        message = encode(some_message(rng, source, destination))
    except NetservError:  # the parts do not go together
        message = rng.choice(known)
    return MAGIC + (message if what < 0.7 else mutated(rng, message, known))
