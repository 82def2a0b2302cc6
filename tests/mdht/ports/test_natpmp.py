import ipaddress
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.errors import RemoteProtocolError
from mdht.ports.natpmp import Mapping, Opcode, Request, Response, Result

OUTSIDE = ipaddress.IPv4Address("11.0.3.2")
REQUESTS = [
    ("0000", Request()),
    (
        "00010000" + "6a2f6a30" + "00001c20",
        Request(mapping=Mapping(internal_port=27183, external_port=27184, lifetime_s=7200)),
    ),
]
RESPONSES = [
    ("00800000" + "00000009" + "0b000302", Response(opcode=0, result=0, epoch_s=9, address=OUTSIDE)),
    (
        "00810000" + "00000009" + "6a2f6a30" + "00000e10",
        Response(
            opcode=Opcode.MAP_UDP,
            result=Result.SUCCESS,
            epoch_s=9,
            mapping=Mapping(internal_port=27183, external_port=27184, lifetime_s=3600),
        ),
    ),
    ("00810002" + "00000009", Response(opcode=1, result=Result.NOT_AUTHORIZED, epoch_s=9)),
]
ports, numbers = st.integers(0, 65_535), st.integers(0, (1 << 32) - 1)
mappings = st.builds(Mapping, internal_port=ports, external_port=ports, lifetime_s=numbers)
responses = st.one_of(
    st.builds(Response, opcode=st.just(1), result=st.just(0), epoch_s=numbers, mapping=mappings),
    st.builds(Response, opcode=st.just(0), result=st.just(0), epoch_s=numbers, address=st.just(OUTSIDE)),
    st.builds(Response, opcode=st.integers(0, 127), result=st.integers(1, 65_535), epoch_s=numbers),
)


@pytest.mark.parametrize(("data", "value"), REQUESTS)
def test_a_request_is_as_the_standard_draws_it(data: str, value: Request) -> None:
    assert Request.decode(bytes.fromhex(data)) == value
    assert value.encode().hex() == data


@pytest.mark.parametrize(("data", "value"), RESPONSES)
def test_a_response_is_as_the_standard_draws_it(data: str, value: Response) -> None:
    assert Response.decode(bytes.fromhex(data)) == value
    assert value.encode().hex() == data


@pytest.mark.parametrize(
    "data",
    ["", "00", RESPONSES[0][0][:-2], RESPONSES[1][0][:-2], RESPONSES[1][0] + "00", "02" + RESPONSES[0][0][2:], "0000"],
)
def test_what_is_no_answer_is_refused(data: str) -> None:
    with pytest.raises(RemoteProtocolError):
        Response.decode(bytes.fromhex(data))


def test_what_a_router_adds_to_an_error_is_passed_over() -> None:
    assert Response.decode(bytes.fromhex(RESPONSES[2][0] + "6a2f6a2f")) == RESPONSES[2][1]


@given(st.builds(Request, mapping=mappings))
def test_requests_come_back(value: Request) -> None:
    assert Request.decode(value.encode()) == value


@given(responses)
def test_responses_come_back(value: Response) -> None:
    assert Response.decode(value.encode()) == value


@given(st.one_of(st.binary(max_size=20), st.binary(max_size=16).map(lambda tail: b"\x00\x81" + tail)))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    for kind in (Request, Response):
        with suppress(RemoteProtocolError):
            kind.decode(data)
