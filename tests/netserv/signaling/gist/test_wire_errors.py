"""A row for each error of RFC 5971 appendix A.4.4 that reading a message can find.

The others need the state of a node, or how a message came: hop limit, encapsulation, delivery, routing state, unknown
NSLPID, endpoint, size, untranslated object, cookie, IP TTL, validation of the MRI.
"""

from struct import pack

import pytest

from netserv.errors import LocalProtocolError
from netserv.signaling.gist import wire
from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.errors import (
    ErrorCode,
    FormatError,
    GistError,
    HeaderFault,
    InfoType,
    TypeFault,
    ValueFault,
)
from netserv.signaling.gist.messages import Confirm, Data, Error, MaHello, Query, Response
from netserv.signaling.gist.objects.error_object import ErrorObject
from netserv.signaling.gist.objects.mri import Area, LooseEndMri, OffPathMri, PathCoupledMri
from netserv.signaling.gist.objects.nat_traversal import NatTraversal
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.objects.stack_configuration import ProtocolOption, StackConfiguration
from netserv.signaling.gist.objects.stack_proposal import StackProposal
from netserv.signaling.gist.tlv import framed

QUERY, RESPONSE, CONFIRM, DATA, ERROR, HELLO = range(6)
MRI_VALUE = bytes.fromhex("000040000a4701010a47020220200000")
NLI_VALUE = bytes.fromhex("041040000000ea60aabbccdd0a470101")
SP_VALUE = bytes.fromhex("0200000001010000 02020100")
SCD_VALUE = bytes.fromhex("0200000000007530 01010000 01020000")
NAT, MRI, SID = framed(7, bytes.fromhex("01000000aabbccdd")), framed(0, MRI_VALUE), framed(1, b"s" * 16)
NLI, QC, RC = framed(2, NLI_VALUE), framed(5, b"cook"), framed(6, b"cook")
SP, SCD, NSLP = framed(3, SP_VALUE), framed(4, SCD_VALUE), framed(8, b"data")
ERROR_VALUE = bytes.fromhex("0200010000000000 0101000200000500")
COMMON, TYPE, VALUE = ErrorCode.COMMON_HEADER_PARSE_ERROR, ErrorCode.OBJECT_TYPE_ERROR, ErrorCode.OBJECT_VALUE_ERROR
FLAGS = {QUERY: "80c0", RESPONSE: "01c0", CONFIRM: "0280", DATA: "0380", ERROR: "0480", HELLO: "0580"}


def message(kind: int, *objects: bytes, flags: str | None = None, words: int | None = None, version: int = 1) -> bytes:
    body = b"".join(objects)
    length = len(body) // 4 if words is None else words
    return pack("!BBHH", version, 9, length, 32704) + bytes.fromhex(flags or FLAGS[kind]) + body


def changed(value: bytes, at: int, to: str) -> bytes:
    new = bytes.fromhex(to)
    return value[:at] + new + value[at + len(new) :]


def with_mri(value: bytes) -> bytes:
    return message(QUERY, framed(0, value), SID, NLI, QC)


def with_nli(value: bytes) -> bytes:
    return message(QUERY, MRI, SID, framed(2, value), QC)


def with_offer(proposal: bytes, configuration: bytes) -> bytes:
    return message(QUERY, MRI, SID, NLI, QC, framed(3, proposal), framed(4, configuration))


def about_type(first: int) -> tuple[tuple[int, bytes], ...]:
    return ((InfoType.OBJECT_TYPE, pack("!HH", first, 0)),)


def about_length(words: int) -> tuple[tuple[int, bytes], ...]:
    return ((InfoType.MESSAGE_LENGTH, pack("!HH", words, 0)),)


def about_value(offset: int, *objects: bytes) -> tuple[tuple[int, bytes], ...]:
    return tuple((InfoType.OBJECT_VALUE, pack("!HH", len(one) // 4, offset) + one) for one in objects)


Row = tuple[str, bytes, ErrorCode, int, tuple[tuple[int, bytes], ...]]

HEADERS: list[Row] = [
    ("version 2", message(QUERY, MRI, SID, NLI, QC, version=2), COMMON, HeaderFault.VERSION, ()),
    ("version 0", message(QUERY, MRI, SID, NLI, QC, version=0), COMMON, HeaderFault.VERSION, ()),
    ("type 6", message(6, flags="0680"), COMMON, HeaderFault.TYPE, ()),
    ("type 127 with C", message(127, flags="ff80"), COMMON, HeaderFault.TYPE, ()),
    ("Query without R", message(QUERY, MRI, SID, NLI, QC, flags="8080"), COMMON, HeaderFault.R_FLAG, ()),
    ("Confirm with R", message(CONFIRM, MRI, SID, NLI, flags="02c0"), COMMON, HeaderFault.R_FLAG, ()),
    ("Data with R", message(DATA, MRI, SID, NSLP, flags="03c0"), COMMON, HeaderFault.R_FLAG, ()),
    ("Error with R", message(ERROR, framed(9, ERROR_VALUE), flags="04c0"), COMMON, HeaderFault.R_FLAG, ()),
    (
        "Response with cookie, without R",
        message(RESPONSE, MRI, SID, NLI, QC, RC, flags="0180"),
        COMMON,
        HeaderFault.R_FLAG,
        (),
    ),
    ("nothing", b"", COMMON, HeaderFault.LENGTH, about_length(0)),
    ("half a header", message(QUERY)[:5], COMMON, HeaderFault.LENGTH, about_length(0)),
    ("length too small", message(CONFIRM, MRI, SID, NLI, words=13), COMMON, HeaderFault.LENGTH, about_length(15)),
    ("length too large", message(CONFIRM, MRI, SID, NLI, words=16), COMMON, HeaderFault.LENGTH, about_length(15)),
    ("no whole words", message(CONFIRM, MRI, SID, NLI) + b"x", COMMON, HeaderFault.LENGTH, about_length(15)),
    (
        "last object reaches over the end",
        message(CONFIRM, MRI, SID, NLI[:-4]),
        COMMON,
        HeaderFault.LENGTH,
        about_length(15),
    ),
    ("Query with E", message(QUERY, MRI, SID, NLI, QC, flags="80e0"), COMMON, HeaderFault.E_FLAG, ()),
    ("Response with E", message(RESPONSE, MRI, SID, NLI, QC, flags="01e0"), COMMON, HeaderFault.E_FLAG, ()),
    ("MA-Hello with E", message(HELLO, framed(10, b"\0\0\0\1"), flags="05a0"), COMMON, HeaderFault.E_FLAG, ()),
    ("Query without C", message(QUERY, MRI, SID, NLI, QC, flags="00c0"), COMMON, HeaderFault.C_FLAG, ()),
    ("Response with C", message(RESPONSE, MRI, SID, NLI, QC, flags="81c0"), COMMON, HeaderFault.C_FLAG, ()),
    ("Confirm with C", message(CONFIRM, MRI, SID, NLI, flags="8280"), COMMON, HeaderFault.C_FLAG, ()),
    ("Error with C", message(ERROR, framed(9, ERROR_VALUE), flags="8480"), COMMON, HeaderFault.C_FLAG, ()),
    ("MA-Hello with C", message(HELLO, framed(10, b"\0\0\0\1"), flags="8580"), COMMON, HeaderFault.C_FLAG, ()),
]
TYPES: list[Row] = [
    ("two MRIs", message(QUERY, MRI, MRI, SID, NLI, QC), TYPE, TypeFault.DUPLICATE, about_type(0)),
    ("two payloads", message(DATA, MRI, SID, NSLP, NSLP), TYPE, TypeFault.DUPLICATE, about_type(8)),
    ("two SIDs apart", message(QUERY, MRI, SID, NLI, SID, QC), TYPE, TypeFault.DUPLICATE, about_type(1)),
    (
        "unknown and mandatory",
        message(DATA, MRI, SID, framed(11, b""), NSLP),
        TYPE,
        TypeFault.UNRECOGNISED,
        about_type(11),
    ),
    (
        "highest type, mandatory",
        message(DATA, MRI, SID, NSLP, framed(0xFFF, b"")),
        TYPE,
        TypeFault.UNRECOGNISED,
        about_type(0xFFF),
    ),
    ("Query without MRI", message(QUERY, SID, NLI, QC), TYPE, TypeFault.MISSING, about_type(0)),
    ("Query without SID", message(QUERY, MRI, NLI, QC), TYPE, TypeFault.MISSING, about_type(1)),
    ("Query without NLI", message(QUERY, MRI, SID, QC), TYPE, TypeFault.MISSING, about_type(2)),
    ("Query without cookie", message(QUERY, MRI, SID, NLI), TYPE, TypeFault.MISSING, about_type(5)),
    ("Query without anything", message(QUERY), TYPE, TypeFault.MISSING, about_type(0)),
    ("Query that only proposes", message(QUERY, MRI, SID, NLI, QC, SP), TYPE, TypeFault.MISSING, about_type(4)),
    ("Query that only configures", message(QUERY, MRI, SID, NLI, QC, SCD), TYPE, TypeFault.MISSING, about_type(3)),
    ("Response without Query-Cookie", message(RESPONSE, MRI, SID, NLI, RC), TYPE, TypeFault.MISSING, about_type(5)),
    (
        "Response that only proposes",
        message(RESPONSE, MRI, SID, NLI, QC, RC, SP),
        TYPE,
        TypeFault.MISSING,
        about_type(4),
    ),
    (
        "Response that offers without cookie",
        message(RESPONSE, MRI, SID, NLI, QC, SP, SCD),
        TYPE,
        TypeFault.MISSING,
        about_type(6),
    ),
    ("Confirm without NLI", message(CONFIRM, MRI, SID), TYPE, TypeFault.MISSING, about_type(2)),
    ("Confirm that echoes without cookie", message(CONFIRM, MRI, SID, NLI, SP), TYPE, TypeFault.MISSING, about_type(6)),
    ("Confirm that only configures", message(CONFIRM, MRI, SID, NLI, RC, SCD), TYPE, TypeFault.MISSING, about_type(3)),
    ("Data without payload", message(DATA, MRI, SID, NLI), TYPE, TypeFault.MISSING, about_type(8)),
    ("Q-mode Data without NLI", message(DATA, MRI, SID, NSLP, flags="8380"), TYPE, TypeFault.MISSING, about_type(2)),
    ("empty Error", message(ERROR, NLI), TYPE, TypeFault.MISSING, about_type(9)),
    ("empty MA-Hello", message(HELLO), TYPE, TypeFault.MISSING, about_type(10)),
    ("Query with a Responder-Cookie", message(QUERY, MRI, SID, NLI, QC, RC), TYPE, TypeFault.INVALID, about_type(6)),
    ("Confirm with NAT-Traversal", message(CONFIRM, NAT, MRI, SID, NLI), TYPE, TypeFault.INVALID, about_type(7)),
    ("Data with a cookie", message(DATA, MRI, SID, NLI, QC, NSLP), TYPE, TypeFault.INVALID, about_type(5)),
    ("Error with a payload", message(ERROR, framed(9, ERROR_VALUE), NSLP), TYPE, TypeFault.INVALID, about_type(8)),
    ("MA-Hello with a SID", message(HELLO, SID, framed(10, b"1234")), TYPE, TypeFault.INVALID, about_type(1)),
    (
        "known, though to be ignored",
        message(HELLO, pack("!HH", 0x4008, 0)),
        TYPE,
        TypeFault.INVALID,
        about_type(0x4008),
    ),
    ("SID before MRI", message(QUERY, SID, MRI, NLI, QC), TYPE, TypeFault.INVALID, about_type(0)),
    ("payload first", message(DATA, NSLP, MRI, SID), TYPE, TypeFault.INVALID, about_type(0)),
    (
        "flags 11 on an unknown object",
        message(DATA, MRI, SID, NSLP, pack("!HH", 0xC7D0, 0)),
        TYPE,
        TypeFault.INVALID_AB,
        about_type(0xC7D0),
    ),
    (
        "flags 11 on a known object",
        message(DATA, pack("!H", 0xC000) + MRI[2:], SID, NSLP),
        TYPE,
        TypeFault.INVALID_AB,
        about_type(0xC000),
    ),
]


def mri_row(name: str, value: bytes, fault: ValueFault, offset: int) -> Row:
    return name, with_mri(value), VALUE, fault, about_value(4 + offset, framed(0, value))


def nli_row(name: str, value: bytes, fault: ValueFault, offset: int) -> Row:
    return name, with_nli(value), VALUE, fault, about_value(4 + offset, framed(2, value))


def proposal_row(name: str, value: bytes, fault: ValueFault, offset: int) -> Row:
    return name, with_offer(value, SCD_VALUE), VALUE, fault, about_value(4 + offset, framed(3, value))


def configuration_row(name: str, value: bytes, fault: ValueFault, offset: int) -> Row:
    return name, with_offer(SP_VALUE, value), VALUE, fault, about_value(4 + offset, framed(4, value))


def mismatch_row(name: str, proposal: str, configuration: str) -> Row:
    sp, scd = bytes.fromhex(proposal), bytes.fromhex(configuration)
    return name, with_offer(sp, scd), VALUE, ValueFault.STACK_MISMATCH, about_value(4, framed(3, sp), framed(4, scd))


def error_row(name: str, value: bytes, fault: ValueFault, offset: int) -> Row:
    return name, message(ERROR, NLI, framed(9, value)), VALUE, fault, about_value(4 + offset, framed(9, value))


def nat_row(name: str, value: str, fault: ValueFault, offset: int) -> Row:
    nat = framed(7, bytes.fromhex(value))
    return name, message(QUERY, nat, MRI, SID, NLI, QC), VALUE, fault, about_value(4 + offset, nat)


LENGTH, UNSUPPORTED, COMBINATION = ValueFault.LENGTH, ValueFault.NOT_SUPPORTED, ValueFault.INVALID_COMBINATION
LOOSE, AREA = bytes.fromhex("010040000a4701010a470202"), bytes.fromhex("780040000103 0000 0a4701010a470202")
MRIS: list[Row] = [
    mri_row("empty MRI", b"", LENGTH, 0),
    mri_row("MRI cut in its addresses", MRI_VALUE[:8], LENGTH, 8),
    mri_row("MRI with a word too many", MRI_VALUE + bytes(4), LENGTH, 16),
    mri_row("MRI that lacks the ports", changed(MRI_VALUE, 2, "48c0"), LENGTH, 16),
    mri_row("MRI that lacks the SPI", changed(MRI_VALUE, 2, "4900"), LENGTH, 16),
    mri_row("IPv6 MRI of the length of an IPv4 one", changed(MRI_VALUE, 2, "6000"), LENGTH, 4),
    mri_row("routing method 2", changed(MRI_VALUE, 0, "02"), UNSUPPORTED, 0),
    mri_row("MRI for IP version 5", changed(MRI_VALUE, 2, "5000"), UNSUPPORTED, 2),
    mri_row("MRI with N", changed(MRI_VALUE, 1, "80"), COMBINATION, 1),
    mri_row("MRI with a flow label of IPv4", changed(MRI_VALUE, 2, "4200") + bytes(4), COMBINATION, 2),
    mri_row("MRI with SPI, without protocol", changed(MRI_VALUE, 2, "4100") + bytes(4), COMBINATION, 2),
    mri_row("MRI with source port, without protocol", changed(MRI_VALUE, 2, "4080") + bytes(4), COMBINATION, 2),
    mri_row("MRI with destination port, without protocol", changed(MRI_VALUE, 2, "4040") + bytes(4), COMBINATION, 2),
    mri_row("MRI with a source prefix of 33", changed(MRI_VALUE, 12, "21"), COMBINATION, 12),
    mri_row("MRI with a destination prefix of 33", changed(MRI_VALUE, 13, "21"), COMBINATION, 13),
    mri_row("loose-end MRI cut short", LOOSE[:8], LENGTH, 8),
    mri_row("loose-end MRI with a word too many", LOOSE + bytes(4), LENGTH, 12),
    mri_row("loose-end MRI for IP version 0", changed(LOOSE, 2, "0000"), UNSUPPORTED, 2),
    mri_row("off-path MRI cut short", AREA[:4], LENGTH, 4),
    mri_row("off-path MRI with a word too many", AREA + bytes(4), LENGTH, 16),
    mri_row("off-path MRI of area 3", changed(AREA, 4, "03"), UNSUPPORTED, 4),
    mri_row("off-path MRI of radius 0", changed(AREA, 5, "00"), UNSUPPORTED, 5),
    mri_row("off-path MRI of radius 16", changed(AREA, 5, "10"), UNSUPPORTED, 5),
]
NLIS: list[Row] = [
    nli_row("empty NLI", b"", LENGTH, 0),
    nli_row("NLI without address", NLI_VALUE[:-4], LENGTH, 12),
    nli_row("NLI with a word too many", NLI_VALUE + bytes(4), LENGTH, 16),
    nli_row("NLI of an IPv6 address with 4 bytes", changed(NLI_VALUE, 2, "6000"), LENGTH, 12),
    nli_row("NLI for IP version 5", changed(NLI_VALUE, 2, "5000"), UNSUPPORTED, 2),
    nli_row("NLI valid for 0 ms", changed(NLI_VALUE, 4, "00000000"), UNSUPPORTED, 4),
    nli_row("NLI without identity", bytes.fromhex("001040000000ea60") + NLI_VALUE[-4:], UNSUPPORTED, 0),
    nli_row("NLI of a multicast address", changed(NLI_VALUE, 12, "e0000001"), UNSUPPORTED, 12),
    nli_row("NLI of the broadcast address", changed(NLI_VALUE, 12, "ffffffff"), UNSUPPORTED, 12),
    nli_row("NLI of no address", changed(NLI_VALUE, 12, "00000000"), UNSUPPORTED, 12),
    nli_row(
        "NLI of an IPv6 multicast address",
        changed(NLI_VALUE[:12], 2, "6000") + packed("ff02::1"),
        UNSUPPORTED,
        12,
    ),
    nli_row("NLI of no IPv6 address", changed(NLI_VALUE[:12], 2, "6000") + bytes(16), UNSUPPORTED, 12),
]
STACKS: list[Row] = [
    proposal_row("empty proposal", b"", LENGTH, 0),
    proposal_row("proposal with a word too many", SP_VALUE + bytes(4), LENGTH, 12),
    proposal_row("proposal that lacks a profile", changed(SP_VALUE, 0, "03"), LENGTH, 12),
    proposal_row("proposal cut in a profile", changed(SP_VALUE, 8, "09"), LENGTH, 9),
    proposal_row("proposal of no profile", changed(SP_VALUE, 0, "00")[:4], UNSUPPORTED, 0),
    proposal_row("proposal with protocol 0", changed(SP_VALUE, 5, "00"), UNSUPPORTED, 5),
    proposal_row("proposal with an empty profile", changed(SP_VALUE, 8, "00000000"), ValueFault.EMPTY_LIST, 8),
    configuration_row("empty configuration", b"", LENGTH, 0),
    configuration_row("configuration without hold time", SCD_VALUE[:4], LENGTH, 0),
    configuration_row("configuration with a word too many", SCD_VALUE + bytes(4), LENGTH, 16),
    configuration_row("configuration that lacks an option", changed(SCD_VALUE, 0, "03"), LENGTH, 16),
    configuration_row("configuration cut in an option", changed(SCD_VALUE, 14, "01"), LENGTH, 16),
    configuration_row("hold time of 0", changed(SCD_VALUE, 4, "00000000"), UNSUPPORTED, 4),
    configuration_row("option for protocol 0", changed(SCD_VALUE, 8, "00"), UNSUPPORTED, 0),
    mismatch_row("option for profile 3 of 2", SP_VALUE.hex(), "0200000000007530 01010000 01030000"),
    mismatch_row("option for a protocol that is not offered", SP_VALUE.hex(), "0200000000007530 01000000 03000000"),
    mismatch_row("option for a protocol of another profile", SP_VALUE.hex(), "0200000000007530 01000000 02010000"),
    mismatch_row("TCP without an option", SP_VALUE.hex(), "0100000000007530 01010000"),
    mismatch_row("no options at all", SP_VALUE.hex(), "0000000000007530"),
]
OTHERS: list[Row] = [
    (
        "SID of 12 bytes",
        message(DATA, MRI, SID_12 := framed(1, b"s" * 12), NSLP),
        VALUE,
        LENGTH,
        about_value(4, SID_12),
    ),
    (
        "Hello-ID of 8 bytes",
        message(HELLO, framed(10, b"12345678")),
        VALUE,
        LENGTH,
        about_value(4, framed(10, b"12345678")),
    ),
    (
        "MA-Hello that wants a reply to 0",
        message(HELLO, framed(10, bytes(4)), flags="05c0"),
        VALUE,
        UNSUPPORTED,
        about_value(4, framed(10, bytes(4))),
    ),
    error_row("Error cut in the header", ERROR_VALUE[:12], LENGTH, 8),
    error_row("Error that lacks the SID", changed(ERROR_VALUE, 4, "80"), LENGTH, 16),
    error_row("Error that lacks the MRI", changed(ERROR_VALUE, 4, "400004"), LENGTH, 16),
    error_row("Error about Q-mode without D-mode", changed(ERROR_VALUE, 4, "08"), COMBINATION, 4),
    nat_row("NAT-Traversal that lacks the MRI", "04000000 aabbccdd", LENGTH, 4),
    nat_row("NAT-Traversal with an empty MRI", "00000000", UNSUPPORTED, 0),
    nat_row("NAT-Traversal that lacks the types", "01020000 aabbccdd", LENGTH, 8),
    nat_row("NAT-Traversal that lacks what a NAT wrote", "01000100 aabbccdd", LENGTH, 8),
    nat_row("NAT-Traversal cut in what a NAT wrote", "01000100 aabbccdd 00030000", LENGTH, 10),
    nat_row("NAT-Traversal with a word too many", "01000000 aabbccdd 00000000", LENGTH, 8),
]
ROWS = HEADERS + TYPES + MRIS + NLIS + STACKS + OTHERS


@pytest.mark.parametrize(("data", "code", "subcode", "info"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_message_is_refused_with_what_an_error_about_it_needs(
    data: bytes, code: ErrorCode, subcode: int, info: tuple[tuple[int, bytes], ...]
) -> None:
    with pytest.raises(GistError) as refused:
        wire.decode(data)
    assert (refused.value.code, refused.value.subcode) == (code, subcode)
    assert refused.value.info == info
    about = wire.error_about(data, refused.value, d_mode=True)
    assert wire.decode(wire.encode(Error(error=about))) == Error(error=about)


def test_messages_of_the_table_are_good_but_for_what_their_rows_change() -> None:
    for data in (
        message(QUERY, MRI, SID, NLI, QC, SP, SCD, NSLP),
        message(QUERY, NAT, MRI, SID, NLI, QC),
        message(RESPONSE, NAT, MRI, SID, NLI, QC, RC, SP, SCD, NSLP),
        message(CONFIRM, MRI, SID, NLI, RC, SP, SCD, NSLP),
        message(DATA, NAT, MRI, SID, NLI, NSLP),
        message(DATA, MRI, SID, NLI, NSLP, flags="83a0"),
        message(ERROR, NAT, NLI, framed(9, ERROR_VALUE)),
        message(HELLO, framed(10, b"\0\0\0\1"), flags="05c0"),
        with_mri(LOOSE),
        with_mri(AREA),
    ):
        wire.decode(data)


@pytest.mark.parametrize("flags", [0x4000, 0x8000])
def test_unknown_object_that_may_be_left_is_left(flags: int) -> None:
    unknown = pack("!HH", flags | 2001, 1) + b"what"
    plain = wire.decode(message(DATA, MRI, SID, NSLP))
    assert wire.decode(message(DATA, unknown, MRI, unknown, SID, NSLP, unknown)) == plain


def test_reserved_bits_and_padding_are_ignored() -> None:
    clean = wire.decode(message(QUERY, MRI, SID, NLI, QC, SP, SCD))
    reserved = pack("!HH", 0x3000, 0xF004) + changed(changed(MRI_VALUE, 1, "7f401f"), 14, "0003")
    noisy = message(
        QUERY,
        reserved,
        SID,
        framed(2, changed(NLI_VALUE, 2, "4fff")),
        QC,
        framed(3, bytes.fromhex("02ffffff0101ffff 020201ff")),
        framed(4, bytes.fromhex("02ffffff00007530 0101007f 0102007f")),
        flags="80df",
    )
    assert wire.decode(noisy) == clean


@pytest.mark.parametrize("kind", [DATA, ERROR])
def test_nli_is_there_in_datagrams_and_only_there(kind: int) -> None:
    rest = (NSLP,) if kind == DATA else (framed(9, ERROR_VALUE),)
    before = (MRI, SID) if kind == DATA else ()
    without, with_it = message(kind, *before, *rest), message(kind, *before, NLI, *rest)
    wire.decode(without, on_association=True)
    wire.decode(with_it, on_association=False)
    for data, on_association, fault in ((with_it, True, TypeFault.INVALID), (without, False, TypeFault.MISSING)):
        with pytest.raises(GistError) as refused:
            wire.decode(data, on_association=on_association)
        assert (refused.value.code, refused.value.subcode) == (TYPE, fault)
        assert refused.value.info == about_type(2)


FLOW = PathCoupledMri(source=b"1234", destination=b"5678", source_prefix=32, destination_prefix=32)
HERE = Nli(peer_identity=b"me", address=b"1234", ip_ttl=0, validity_ms=1)
TCP = StackProposal(((1,),))
PLAIN = {"nslp_id": 1, "mri": FLOW, "sid": bytes(16)}
LONG = bytes(16_384)
CALLS = {
    "addresses of two kinds": lambda: LooseEndMri(source=bytes(4), destination=bytes(16)),
    "address of 5 bytes": lambda: LooseEndMri(source=bytes(5), destination=bytes(5)),
    "prefix of 129": lambda: PathCoupledMri(
        source=bytes(16), destination=bytes(16), source_prefix=129, destination_prefix=0
    ),
    "protocol 256": lambda: PathCoupledMri(
        source=b"1234", destination=b"5678", source_prefix=32, destination_prefix=32, protocol=256
    ),
    "DSCP 64": lambda: PathCoupledMri(
        source=b"1234", destination=b"5678", source_prefix=32, destination_prefix=32, dscp=64
    ),
    "port without protocol": lambda: PathCoupledMri(
        source=b"1234", destination=b"5678", source_prefix=32, destination_prefix=32, source_port=1
    ),
    "radius 16": lambda: OffPathMri(area=Area.HOSE, source=bytes(4), destination=bytes(4), radius=16),
    "long identity": lambda: Nli(peer_identity=bytes(256), address=b"1234", ip_ttl=0, validity_ms=1),
    "validity of 0": lambda: Nli(peer_identity=b"me", address=b"1234", ip_ttl=0, validity_ms=0),
    "IP TTL 256": lambda: Nli(peer_identity=b"me", address=b"1234", ip_ttl=256, validity_ms=1),
    "no profile": lambda: StackProposal(()),
    "many profiles": lambda: StackProposal(((1,),) * 256),
    "proposal over an object": lambda: StackProposal(((1,) * 255,) * 64),
    "hold time of 0": lambda: StackConfiguration(hold_time_ms=0),
    "configuration over an object": lambda: StackConfiguration(
        hold_time_ms=1, options=(ProtocolOption(protocol=1, profile=0, data=bytes(255)),) * 64
    ),
    "long option": lambda: ProtocolOption(protocol=1, profile=1, data=bytes(256)),
    "original MRI of 3 bytes": lambda: NatTraversal(original_mri=b"123", translated_types=(), opaque=()),
    "type of 17 bits": lambda: NatTraversal(original_mri=b"1234", translated_types=(0x10000,), opaque=()),
    "NATs over an object": lambda: NatTraversal(original_mri=b"1234", translated_types=(), opaque=(LONG,)),
    "comment with NUL": lambda: ErrorObject(error_class=2, code=5, original_header=bytes(8), comment="a\0b"),
    "comment that is no text": lambda: ErrorObject(error_class=2, code=5, original_header=bytes(8), comment="\ud800"),
    "long comment": lambda: ErrorObject(error_class=2, code=5, original_header=bytes(8), comment="a" * 16_380),
    "info of 3 bytes": lambda: ErrorObject(error_class=2, code=5, original_header=bytes(8), info=((1, b"123"),)),
    "short original header": lambda: ErrorObject(error_class=2, code=5, original_header=bytes(7)),
    "short SID in an Error": lambda: ErrorObject(error_class=2, code=5, original_header=bytes(8), sid=bytes(15)),
    "MRI of 3 bytes in an Error": lambda: ErrorObject(error_class=2, code=5, original_header=bytes(8), mri=b"123"),
    "code of 17 bits": lambda: ErrorObject(error_class=2, code=0x10000, original_header=bytes(8)),
    "SID of 15 bytes": lambda: Data(nslp_id=1, mri=FLOW, sid=bytes(15), nslp_data=b""),
    "payload of 3 bytes": lambda: Data(**PLAIN, nslp_data=b"abc"),
    "payload over an object": lambda: Data(**PLAIN, nslp_data=LONG),
    "NSLPID of 17 bits": lambda: Data(nslp_id=0x10000, mri=FLOW, sid=bytes(16), nslp_data=b""),
    "256 hops": lambda: MaHello(hops=256),
    "proposal alone": lambda: Query(**PLAIN, nli=HERE, query_cookie=b"1234", stack_proposal=TCP),
    "cookie of 3 bytes": lambda: Query(**PLAIN, nli=HERE, query_cookie=b"123"),
    "responder's cookie of 3 bytes": lambda: Confirm(**PLAIN, nli=HERE, responder_cookie=b"123"),
    "cookie without R": lambda: Response(
        **PLAIN, nli=HERE, query_cookie=b"1234", responder_cookie=b"1234", wants_confirm=False
    ),
    "reply wanted to 0": lambda: MaHello(wants_reply=True),
}


@pytest.mark.parametrize("name", CALLS)
def test_caller_meets_the_same_checks(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        CALLS[name]()


def test_fault_of_a_caller_says_what_it_would_be_on_the_wire() -> None:
    with pytest.raises(FormatError) as refused:
        StackProposal(((),))
    assert (refused.value.code, refused.value.subcode) == (VALUE, ValueFault.EMPTY_LIST)
