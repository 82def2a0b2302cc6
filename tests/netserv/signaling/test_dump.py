import io
from collections.abc import Iterable
from struct import pack

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.signaling.dump import Dump, Entry, as_text, printable
from netserv.signaling.gist import wire
from netserv.signaling.gist.messages import Data, Error, Message, Query
from netserv.signaling.gist.objects.error_object import ErrorObject
from netserv.signaling.gist.objects.mri import Area, OffPathMri
from netserv.signaling.gist.objects.nat_traversal import NatTraversal
from netserv.signaling.gist.tlv import ObjectType
from netserv.signaling.gist_described import OBJECT_NAMES, described, text_of
from netserv.signaling.pcap_io import Capture
from tests.netserv.signaling.captures import FIN, TCP_PROTOCOL, UDP_PROTOCOL, ip, pcap, tcp, udp
from tests.netserv.signaling.gist.gist_messages import DEFECT, GOOD, MESSAGES, VECTORS

PROBE = b"PROBE * NETSERV/0.1\nuser:example\nprobe:status,load\n\n"


def entries(frames: Iterable[bytes]) -> list[Entry]:
    return list(Dump().entries(Capture(io.BytesIO(pcap(*frames))).packets()))


def datagram(message: bytes) -> bytes:
    return ip(udp(wire.MAGIC + message), UDP_PROTOCOL)


def with_payload(payload: bytes) -> bytes:
    data = wire.decode(VECTORS["ka_data_dmode"].message)
    assert isinstance(data, Data)
    return wire.encode(msgspec.structs.replace(data, nslp_data=payload + bytes(-len(payload) % 4)))


def test_golden_messages_are_printed_with_all_their_objects() -> None:
    frames = []
    sequence = dict.fromkeys(("10.71.1.1", "10.71.2.2"), 1)
    for name in GOOD:
        vector = VECTORS[name]
        if vector.transport == "udp":
            above, protocol = udp(vector.payload, int(vector.sport), int(vector.dport)), UDP_PROTOCOL
        else:
            ports = (40_000, 4711) if vector.src == "10.71.1.1" else (4711, 40_000)
            above, protocol = tcp(vector.payload, sequence[vector.src], sport=ports[0], dport=ports[1]), TCP_PROTOCOL
        frames.append(ip(above, protocol, vector.src, vector.dst))
    found = entries(frames)
    assert len(found) == len(GOOD)
    for name, entry in zip(GOOD, found, strict=True):
        vector = VECTORS[name]
        assert entry.wrong is None
        assert entry.transport == vector.transport.upper()
        assert entry.message is not None
        assert entry.message["bytes"] == len(vector.message)
        assert entry.source.startswith(vector.src + ":")
    text = "\n".join(map(as_text, found))
    for part in (
        "Query: hops 32, NSLPID 32704, flags C S R",
        "UDP 10.71.2.2:270 > 10.71.1.1:56440, IP TTL 63",
        "direction upstream, source 10.71.1.1/32, destination 10.71.2.2/32, protocol 17, source port 5060",
        "identity d0a39d6dcf71e7c4a87b19d2b9ed3ea2, address 10.71.1.1, IP TTL 64, validity 60000 ms",
        "Stack-Proposal: TCP TLS/TCP",
        "hold time 180000 ms, options [protocol TCP, profile 1] [protocol TCP, profile 2]",
        "      | Hello World!",
        "MA-Hello: hops 1",
    ):
        assert part in text


def test_json_of_every_message_can_be_read_back() -> None:
    for entry in entries([datagram(VECTORS[name].message) for name in GOOD if VECTORS[name].transport == "udp"]):
        line = msgspec.json.encode(entry)
        assert b"\n" not in line
        assert msgspec.json.decode(line)["message"]["nslp_id"] == 32704


def test_error_of_the_other_implementation_is_printed_in_the_words_of_the_catalogue() -> None:
    (entry,) = entries([datagram(VECTORS[DEFECT].message)])
    assert entry.wrong is None
    assert "Error: Common header parse error: Type, class 2, about (message type 9" in as_text(entry)


def test_message_that_breaks_a_rule_is_printed_with_the_reason_and_its_objects() -> None:
    golden = VECTORS["ka_query_dmode"].message
    validity = golden.index(bytes.fromhex("0000ea60"))
    (entry,) = entries([datagram(golden[:validity] + bytes(4) + golden[validity + 4 :])])
    text = as_text(entry)
    assert "unreadable: Object value error: Not supported (routing state is valid for" in text
    assert "Message-Routing-Information: method path-coupled" in text
    assert "wrong routing state is valid for" in text


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\1", "Common header parse error: Length"),
        (b"\2" + VECTORS["ka_query_dmode"].message[1:], "Common header parse error: Version"),
        (VECTORS["ka_query_dmode"].message[:-4], "Common header parse error: Length"),
        (b"", "Common header parse error: Length"),
    ],
)
def test_scrap_is_printed_as_unreadable(message: bytes, reason: str) -> None:
    (entry,) = entries([datagram(message)])
    assert f"unreadable: {reason}" in as_text(entry)


def test_datagram_without_the_magic_or_for_another_port_is_passed_over() -> None:
    golden = VECTORS["ka_query_dmode"].payload
    assert entries([ip(udp(b"DNS?" + golden), UDP_PROTOCOL), ip(udp(golden, 5, 53), UDP_PROTOCOL)]) == []
    dump = Dump(udp_port=53)
    packets = Capture(io.BytesIO(pcap(ip(udp(golden, 5, 53), UDP_PROTOCOL)))).packets()
    assert len(list(dump.entries(packets))) == 1


def test_datagram_that_the_capture_has_cut_is_said_to_be() -> None:
    capture = pcap(datagram(VECTORS["ka_query_dmode"].message), snap=80)
    (entry,) = Dump().entries(Capture(io.BytesIO(capture)).packets())
    assert entry.wrong == "the capture lacks its last 40 bytes"


def test_nli_on_an_association_is_wrong_there_and_right_in_a_datagram() -> None:
    data = VECTORS["ka_data_dmode"].message
    stream = ip(tcp(VECTORS["ka_confirm_tcp"].message + data, 1, FIN), TCP_PROTOCOL)
    first, second, third = entries([stream, datagram(data)])
    assert (first.wrong, third.wrong) == (None, None)
    assert second.wrong == "Object type error: Invalid (NLI on an association)"


def test_nslp_text_is_printed_line_by_line() -> None:
    (entry,) = entries([datagram(with_payload(PROBE))])
    assert as_text(entry).splitlines()[-5:] == [
        "    NSLP-Data",
        "      | PROBE * NETSERV/0.1",
        "      | user:example",
        "      | probe:status,load",
        "      | ",
    ]


def test_payload_that_is_no_text_is_printed_in_hexadecimal_and_cut() -> None:
    payload = bytes(range(1, 201))
    (entry,) = entries([datagram(with_payload(payload))])
    assert f"NSLP-Data: {payload.hex()[:128]}... (400 characters)" in as_text(entry)
    assert payload.hex() in msgspec.json.encode(entry).decode()


def test_nothing_from_the_wire_reaches_the_terminal_raw() -> None:
    evil = "\x1b[2J\x07\u202e"
    error = ErrorObject(error_class=2, code=5, original_header=bytes(8), comment=evil)
    for message in (with_payload(evil.encode()), wire.encode(Error(error=error))):
        (entry,) = entries([datagram(message)])
        assert "\x1b" not in as_text(entry)
        assert "\u202e" not in as_text(entry)
    assert printable("a\x1b[b") == "a\\x1b[b"
    assert text_of(b"\x1b[2J") is None


def test_rarer_objects_are_described() -> None:
    query = wire.decode(VECTORS["ka_query_dmode"].message)
    assert isinstance(query, Query)
    area = OffPathMri(area=Area.HOSE, source=b"\n\0\0\1", destination=b"\n\0\0\2", radius=3)
    nat = NatTraversal(original_mri=query.mri.encode(), translated_types=(0, 2), opaque=(b"nat",))
    data = wire.encode(msgspec.structs.replace(query, mri=area, nat=nat))
    unknown = pack("!HH", 0x47D0, 1) + b"what"
    (entry,) = entries([datagram(data[:2] + (len(data) // 4).to_bytes(2, "big") + data[4:] + unknown)])
    text = as_text(entry)
    assert entry.wrong is None
    assert "NAT-Traversal: original (method path-coupled" in text
    assert "translated Message-Routing-Information Network-Layer-Information, nats 6e6174" in text
    assert "method off-path, direction downstream, area hose, radius 3, source 10.0.0.1, destination 10.0.0.2" in text
    assert "object 2000: flags 01, 77686174" in text


@given(MESSAGES)
def test_any_message_is_described_and_printed(message: Message) -> None:
    fields, wrong = described(wire.encode(message), on_association=False)
    assert wrong is None or wrong.info
    msgspec.json.encode(fields)
    assert not any("wrong" in one for one in fields["objects"])


@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_are_described(data: bytes, on_association: bool) -> None:
    for candidate in (data, b"\1\1\0\x08\0\0\3\x80" + data):
        fields, wrong = described(candidate, on_association=on_association)
        entry = Entry(packet=1, time=0.0, transport="UDP", source="", destination="", ip_ttl=1, message=fields)
        assert as_text(entry)
        assert msgspec.json.encode(entry)
        assert wrong is not None or fields["message"] is not None


def test_every_object_of_the_rfc_has_a_name() -> None:
    assert set(OBJECT_NAMES) == set(ObjectType)
