import struct
from contextlib import suppress
from ipaddress import ip_address

import dns.message
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.z2z.mdns.memory_link import item
from z2z.dns_records import ITEM_MAX, decode_item, encode_item
from z2z.errors import LocalProtocolError, RemoteProtocolError
from z2z.mdns.messages import (
    RR_ANY,
    RR_NSEC,
    Address4,
    Address6,
    MdnsMessage,
    Nsec,
    Opaque,
    Ptr,
    Question,
    Record,
    Srv,
    Txt,
    fold,
    identity,
)
from z2z.mdns.wire import PAYLOAD_HARD_MAX, PAYLOAD_SOFT_MAX, decode_message, encode_message, rdata_bytes
from z2z.service_item import ADDRESSES_MAX, SUBTYPES_MAX, TXT_MAX, ServiceItem

labels = st.one_of(st.binary(min_size=1, max_size=63), st.sampled_from([b"_daap", b"_DAAP", b"_tcp", b"local", b"a.b"]))
names = st.lists(labels, max_size=6).map(tuple).filter(lambda name: sum(map(len, name)) + len(name) < 255)
u16 = st.integers(0, 65_535)
datas = st.one_of(
    st.builds(Ptr, names),
    st.builds(Srv, u16, u16, u16, names),
    st.builds(Txt, st.binary(max_size=300)),
    st.builds(Address4, st.ip_addresses(v=4)),
    st.builds(Address6, st.ip_addresses(v=6)),
    st.builds(Nsec, names, st.sets(u16, max_size=6).map(lambda types: tuple(sorted(types)))),
    st.builds(Opaque, st.sampled_from([13, 41, 99, 65_535]), st.integers(0, 0x7FFF), st.binary(max_size=40)),
)
records = st.builds(Record, name=names, data=datas, ttl_s=st.integers(0, 2**32 - 1), unique=st.booleans())
questions = st.builds(Question, name=names, rrtype=u16, unicast=st.booleans())
messages = st.builds(
    MdnsMessage,
    id=u16,
    is_response=st.booleans(),
    truncated=st.booleans(),
    questions=st.lists(questions, max_size=3).map(tuple),
    answers=st.lists(records, max_size=5).map(tuple),
    authorities=st.lists(records, max_size=3).map(tuple),
    additionals=st.lists(records, max_size=3).map(tuple),
)
texts = st.lists(st.binary(max_size=255), min_size=1, max_size=6).map(
    lambda parts: b"".join(bytes((len(part),)) + part for part in parts)
)
plain = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))
items = st.builds(
    ServiceItem,
    instance=st.text(plain, min_size=1, max_size=63).map(str.encode).filter(lambda label: len(label) <= 63),
    service_type=st.sampled_from(["_daap._tcp", "_ipp._tcp", "_sip._udp"]),
    subtypes=st.lists(st.text(plain, min_size=1, max_size=15), max_size=4).map(tuple),
    host=st.binary(min_size=1, max_size=63),
    port=st.integers(1, 65_535),
    priority=u16,
    weight=u16,
    txt=texts,
    addresses=st.lists(st.ip_addresses(), max_size=5).map(tuple),
)
NAME = (b"Tom's M.usic", b"_daap", b"_tcp", b"local")


@given(messages)
def test_a_message_comes_back_as_it_was(message: MdnsMessage) -> None:
    (data,) = encode_message(message, soft_max=PAYLOAD_HARD_MAX)
    assert decode_message(data) == message


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_are_refused(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        message = decode_message(data)
        (again,) = encode_message(message, soft_max=PAYLOAD_HARD_MAX)
        assert decode_message(again) == message


@given(messages, st.data())
def test_a_damaged_message_is_read_or_refused(message: MdnsMessage, data: st.DataObject) -> None:
    (encoded,) = encode_message(message, soft_max=PAYLOAD_HARD_MAX)
    damaged = bytearray(encoded)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(RemoteProtocolError):
        decode_message(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


@given(st.builds(Record, name=names, data=datas, ttl_s=st.integers(0, 2**31 - 1)))
def test_dnspython_reads_what_we_write(record: Record) -> None:
    if isinstance(record.data, Opaque | Txt) or (isinstance(record.data, Nsec) and not record.data.rrtypes):
        return  # dnspython reads strings inside TXT, and refuses some of the unknown types by their own rules
    plain = rdata_bytes(record.data)
    if isinstance(record.data, Nsec):  # compressed on a link (RFC 6762 section 18.14), which dnspython forbids
        record = msgspec.structs.replace(record, data=Opaque(RR_NSEC, 1, plain))
    (data,) = encode_message(MdnsMessage(is_response=True, answers=(record,)))
    (rrset,) = dns.message.from_wire(data, one_rr_per_rrset=True).answer
    assert rrset.name.labels == (*record.name, b"")
    assert (rrset.ttl, rrset.rdtype, rrset.rdclass) == (record.ttl_s, record.data.rrtype, dns.rdataclass.IN)
    assert rrset[0].to_wire() == plain


def test_we_read_what_dnspython_writes() -> None:
    text = """id 0
opcode QUERY
flags QR AA
;ANSWER
_daap._tcp.local. 120 IN PTR Tom\\.s._daap._tcp.local.
Tom\\.s._daap._tcp.local. 120 IN SRV 1 2 3689 mac.local.
Tom\\.s._daap._tcp.local. 120 IN TXT "a=b" ""
mac.local. 120 IN A 198.51.100.7
mac.local. 120 IN AAAA 2001:db8::7
mac.local. 120 IN NSEC mac.local. A AAAA
"""
    message = decode_message(dns.message.from_text(text).to_wire())
    name, host = (b"Tom.s", b"_daap", b"_tcp", b"local"), (b"mac", b"local")
    assert [(record.name, record.data) for record in message.answers] == [
        (name[1:], Ptr(name)),
        (name, Srv(1, 2, 3689, host)),
        (name, Txt(b"\x03a=b\x00")),
        (host, Address4(ip_address("198.51.100.7"))),
        (host, Address6(ip_address("2001:db8::7"))),
        (host, Nsec(host, (1, 28))),
    ]


@pytest.mark.parametrize("rdata", [b"", b"\x01", b"\x00\x00\x21\x00", b"\x00\x00\x01\x40\x00\x01\x40", b"\xc0\xff"])
def test_a_strange_nsec_costs_nothing_but_itself(rdata: bytes) -> None:
    host = (b"mac", b"local")
    strange = Record(name=host, data=Opaque(RR_NSEC, 1, rdata), ttl_s=120, unique=True)
    address = Record(name=host, data=Address4(ip_address("198.51.100.7")), ttl_s=120, unique=True)
    (data,) = encode_message(MdnsMessage(is_response=True, answers=(strange, address)))
    first, second = decode_message(data).answers
    assert first.data == Opaque(RR_NSEC, 1, b"")
    assert second == address


def test_the_name_inside_nsec_is_a_pointer_of_two_bytes() -> None:
    record = Record(name=(b"mac", b"local"), data=Nsec((b"mac", b"local"), (1,)), ttl_s=120)
    (data,) = encode_message(MdnsMessage(is_response=True, answers=(record,)))
    assert data.endswith(b"\x00\x05\xc0\x0c\x00\x01\x40")


def legacy(*records: Record) -> MdnsMessage:
    return MdnsMessage(id=7, is_response=True, questions=(Question(name=NAME[1:], rrtype=12),), answers=records)


def test_the_host_in_srv_is_compressed_on_a_link_and_written_out_for_a_plain_resolver() -> None:
    record = Record(name=NAME, data=Srv(0, 0, 1, (b"mac", b"local")), ttl_s=10)
    (plain,) = encode_message(legacy(record))
    assert plain.endswith(b"\x03mac\x05local\x00")
    (ours,) = encode_message(MdnsMessage(is_response=True, answers=(record,)))
    assert not ours.endswith(b"local\x00")
    assert decode_message(plain).answers == decode_message(ours).answers == (record,)


def test_a_plain_resolver_gets_one_datagram_that_says_when_it_is_not_all() -> None:
    pointers = tuple(Record(name=NAME[1:], data=Ptr((b"%d" % n + b"x" * 60, *NAME[1:])), ttl_s=10) for n in range(60))
    (data,) = encode_message(legacy(*pointers))
    message = decode_message(data)
    assert message.truncated
    assert 0 < len(message.answers) < 60
    assert not decode_message(encode_message(legacy(pointers[0]))[0]).truncated


def test_a_single_large_answer_goes_whole_to_a_plain_resolver() -> None:
    large = Record(name=NAME, data=Txt((b"\xff" + b"x" * 255) * 8), ttl_s=10)
    small = Record(name=NAME, data=Srv(0, 0, 1, (b"mac", b"local")), ttl_s=10)
    (data,) = encode_message(legacy(large, small))
    message = decode_message(data)
    assert (message.answers, message.truncated) == ((large,), True)


def header(questions: int = 0, answers: int = 0, flags: int = 0x8400) -> bytes:
    return struct.pack("!HHHHHH", 0, flags, questions, answers, 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        header()[:11],
        header(answers=1),
        header(questions=1) + b"\x01a\x00\x00",
        header(questions=1) + b"\x40a\x00\x00\x01\x00\x01",
        header(questions=1) + b"\xc0\x0c\x00\x01\x00\x01",
        header(questions=1) + b"\xc0",
        header(questions=1) + b"\xff\xff\x00\x01\x00\x01",
        header(questions=1) + (b"\x3f" + b"x" * 63) * 4 + b"\x00\x00\x01\x00\x01",
        header(answers=1) + b"\x00\x00\x01\x00\x01\x00\x00\x00\x78\x00\x03abc",
        header(answers=1) + b"\x00\x00\x01\x00\x01\x00\x00\x00\x78\x00\x05abcd",
        header(answers=1) + b"\x00\x00\x0c\x00\x01\x00\x00\x00\x78\x00\x04\x01a\x00\x00",
        header(answers=1) + b"\x00\x00\x21\x00\x01\x00\x00\x00\x78\x00\x04\x00\x00\x00\x00",
        header(flags=0x8403),
        header(flags=0x2000),
    ],
)
def test_broken_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_message(data)


def test_a_chain_of_pointers_comes_to_an_end() -> None:
    chain = b"\x00" + b"".join(struct.pack("!H", 0xC000 | at) for at in (12, *range(13, 500, 2)))
    body = struct.pack("!HHIH", 99, 1, 120, len(chain)) + chain
    data = header(answers=2) + b"\x00" + body + struct.pack("!H", 0xC000 | (12 + 1 + 10 + len(chain) - 2))
    with pytest.raises(RemoteProtocolError):
        decode_message(data + struct.pack("!HHIH", 99, 1, 120, 0))


def test_the_flag_in_the_class_is_no_class() -> None:
    record = Record(name=NAME, data=Srv(0, 0, 3689, (b"mac", b"local")), ttl_s=120, unique=True)
    question = Question(name=NAME, rrtype=RR_ANY, unicast=True)
    (data,) = encode_message(MdnsMessage(questions=(question,), answers=(record,)))
    assert b"\x00\xff\x80\x01" in data
    assert b"\x00\x21\x80\x01" in data
    assert decode_message(data).answers == (record,)


def test_names_differ_in_case_only_on_paper() -> None:
    upper = Record(name=(b"TOM", b"Local"), data=Ptr((b"X",)), ttl_s=1)
    lower = Record(name=(b"tom", b"local"), data=Ptr((b"x",)), ttl_s=2, unique=True)
    assert identity(upper) == identity(lower)
    assert fold(("Ä".encode(),)) != fold(("ä".encode(),))
    (data,) = encode_message(MdnsMessage(is_response=True, answers=(upper, lower)))
    assert decode_message(data).answers == (upper, lower)


def test_many_answers_go_in_several_datagrams_and_none_is_lost() -> None:
    answers = tuple(Record(name=NAME[1:], data=Ptr((b"Service %d" % n, *NAME[1:])), ttl_s=120) for n in range(500))
    parts = encode_message(MdnsMessage(is_response=True, answers=answers))
    assert max(map(len, parts)) <= PAYLOAD_SOFT_MAX
    assert sum((decode_message(part).answers for part in parts), ()) == answers
    assert not any(decode_message(part).truncated for part in parts)


def test_known_answers_that_do_not_fit_are_announced_by_the_truncated_flag() -> None:
    known = tuple(Record(name=NAME[1:], data=Ptr((b"Service %d" % n, *NAME[1:])), ttl_s=120) for n in range(100))
    parts = encode_message(MdnsMessage(questions=(Question(name=NAME[1:], rrtype=12),), answers=known))
    decoded = [decode_message(part) for part in parts]
    assert [message.truncated for message in decoded] == [True] * (len(parts) - 1) + [False]
    assert [len(message.questions) for message in decoded] == [1] + [0] * (len(parts) - 1)
    assert sum((message.answers for message in decoded), ()) == known


def test_a_large_record_travels_alone() -> None:
    small = Record(name=NAME, data=Txt(b"\x01a"), ttl_s=120)
    large = Record(name=NAME, data=Txt(b"\xff" + b"x" * 255), ttl_s=120)
    huge = Record(name=NAME, data=Txt((b"\xff" + b"x" * 255) * 30), ttl_s=120)
    parts = encode_message(MdnsMessage(is_response=True, answers=(small, huge, large, small)))
    assert [decode_message(part).answers for part in parts] == [(small,), (huge,), (large, small)]


def test_what_no_datagram_can_carry_is_the_callers_fault() -> None:
    giant = Record(name=NAME, data=Txt((b"\xff" + b"x" * 255) * 36), ttl_s=120)
    with pytest.raises(LocalProtocolError):
        encode_message(MdnsMessage(is_response=True, answers=(giant,)))
    with pytest.raises(LocalProtocolError):
        encode_message(MdnsMessage(questions=(Question(name=(b"x" * 64,), rrtype=1),)))
    with pytest.raises(LocalProtocolError):
        encode_message(MdnsMessage(questions=(Question(name=(b"x" * 63,) * 4, rrtype=1),)))


@given(items)
def test_an_item_comes_back_as_it_was(one: ServiceItem) -> None:
    assert decode_item(encode_item(one)) == one


@given(st.binary(max_size=200))
def test_any_bytes_are_an_item_or_are_refused(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        decode_item(data)


@given(items, st.data())
def test_a_damaged_item_is_another_item_or_refused(one: ServiceItem, data: st.DataObject) -> None:
    damaged = bytearray(encode_item(one))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(RemoteProtocolError):
        other = decode_item(bytes(damaged))
        assert decode_item(encode_item(other)) == other


def test_the_largest_item_fits() -> None:
    one = item(
        "x" * 63,
        service_type="_abcdefghijklmno._tcp",
        subtypes=tuple(f"{number:063}" for number in range(SUBTYPES_MAX)),
        host=b"h" * 63,
        txt=(b"\xff" + b"x" * 255) * 34 + b"\x5f" + b"y" * 95,
        addresses=(ip_address("2001:db8::1"),) * ADDRESSES_MAX,
    )
    assert len(one.txt) == TXT_MAX
    assert len(encode_item(one)) < ITEM_MAX
    assert decode_item(encode_item(one)) == one


@pytest.mark.parametrize("change", ["tail", "flush", "ttl", "order", "second", "question", "host", "empty", "size"])
def test_what_encode_item_does_not_write_is_refused(change: str) -> None:
    message = decode_message(encode_item(item(subtypes=("_a",))))
    pointer, subpointer, srv, txt, address = message.answers
    answers = {
        "flush": (pointer, subpointer, Record(name=srv.name, data=srv.data, ttl_s=120, unique=True), txt, address),
        "ttl": (pointer, subpointer, srv, Record(name=txt.name, data=txt.data, ttl_s=121), address),
        "order": (pointer, subpointer, txt, srv, address),
        "second": (pointer, subpointer, srv, srv, txt, address),
        "host": (pointer, subpointer, srv, txt, Record(name=(b"other", b"local"), data=address.data, ttl_s=120)),
        "empty": (),
    }.get(change, message.answers)
    asked = (Question(name=NAME, rrtype=12),) if change == "question" else ()
    (data,) = encode_message(MdnsMessage(is_response=True, questions=asked, answers=answers))
    data += {"tail": b"\0", "size": bytes(ITEM_MAX)}.get(change, b"")
    with pytest.raises(RemoteProtocolError):
        decode_item(data)
