import ipaddress
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.errors import RemoteProtocolError
from mdht.ports.pcp import DATAGRAM_MAX, Mapping, Opcode, Request, Response, Result

NONCE = bytes(range(12))
HOME = ipaddress.IPv4Address("192.168.1.7")
OUTSIDE = ipaddress.IPv4Address("11.0.3.2")
MAPPING = Mapping(nonce=NONCE, internal_port=27183, external_port=27184, external=OUTSIDE)
V4 = "00000000000000000000ffff"
"Before an IPv4 address, RFC 6887 section 5."
WANTED = NONCE.hex() + "11000000" + "6a2f6a30" + V4 + "0b000302"
"Nonce, UDP and 24 reserved bits, 27183 and 27184, 11.0.3.2: section 11.1."

REQUESTS = [
    ("02000000" + "00000000" + V4 + "c0a80107", Request(client=HOME)),
    ("02010000" + "00001c20" + V4 + "c0a80107" + WANTED, Request(client=HOME, lifetime_s=7200, mapping=MAPPING)),
]
RESPONSES = [
    ("02800000" + "00000000" + "00000009" + 24 * "0", Response(opcode=0, result=0, lifetime_s=0, epoch_s=9)),
    (
        "02810000" + "00000e10" + "00000009" + 24 * "0" + WANTED,
        Response(opcode=Opcode.MAP, result=Result.SUCCESS, lifetime_s=3600, epoch_s=9, mapping=MAPPING),
    ),
    (
        "02810002" + "00000708" + "00000009" + 24 * "0" + WANTED,
        Response(opcode=1, result=Result.NOT_AUTHORIZED, lifetime_s=1800, epoch_s=9, mapping=MAPPING),
    ),
    ("02810001" + "00000708" + "00000009" + 24 * "0", Response(opcode=1, result=1, lifetime_s=1800, epoch_s=9)),
]

addresses = st.integers(0, (1 << 32) - 1).map(ipaddress.IPv4Address)
numbers = st.integers(0, (1 << 32) - 1)
ports = st.integers(0, 65_535)
mappings = st.builds(
    Mapping,
    nonce=st.binary(min_size=12, max_size=12),
    protocol=st.integers(0, 255),
    internal_port=ports,
    external_port=ports,
    external=addresses,
)
requests = st.builds(Request, client=addresses, lifetime_s=numbers, mapping=mappings)
responses = st.builds(
    Response,
    opcode=st.just(1),
    result=st.integers(0, 255),
    lifetime_s=numbers,
    epoch_s=numbers,
    mapping=mappings,
)


@pytest.mark.parametrize(("data", "value"), REQUESTS)
def test_a_request_is_as_the_standard_draws_it(data: str, value: Request) -> None:
    assert Request.decode(bytes.fromhex(data)) == value
    assert value.encode().hex() == data


@pytest.mark.parametrize(("data", "value"), RESPONSES)
def test_a_response_is_as_the_standard_draws_it(data: str, value: Response) -> None:
    assert Response.decode(bytes.fromhex(data)) == value
    assert value.encode().hex() == data
    for size in range(0, len(data) // 2, 4):
        short = bytes.fromhex(data)[:size]
        # Only an error may end after its header.
        if not (size == 24 and (value.mapping is None or value.result)):
            with pytest.raises(RemoteProtocolError):
                Response.decode(short)


def test_options_behind_an_answer_are_passed_over() -> None:
    data, value = RESPONSES[1]
    assert Response.decode(bytes.fromhex(data + "0300000400000001")) == value


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex(RESPONSES[1][0]) + b"\0",
        bytes.fromhex(RESPONSES[1][0]) + bytes(DATAGRAM_MAX),
        b"\x01" + bytes.fromhex(RESPONSES[1][0])[1:],
        bytes.fromhex(REQUESTS[1][0]),
        bytes.fromhex(RESPONSES[1][0])[:-16] + ipaddress.IPv6Address("2001:db8::1").packed,
    ],
    ids=["no multiple of 4", "too long", "version 1", "a request", "an IPv6 address"],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Response.decode(data)


@given(requests)
def test_requests_come_back(value: Request) -> None:
    assert Request.decode(value.encode()) == value


@given(responses)
def test_responses_come_back(value: Response) -> None:
    assert Response.decode(value.encode()) == value


@given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda tail: b"\x02\x81" + tail)))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    for kind in (Request, Response):
        with suppress(RemoteProtocolError):
            kind.decode(data)
