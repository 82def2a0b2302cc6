import struct
from ipaddress import ip_address
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.apps.keep_alive import stun

ID = bytes(range(12))
REQUEST = b"\x00\x01\x00\x00" + stun.COOKIE + ID


def request(*attributes: tuple[int, bytes], fingerprint: bool = False) -> bytes:
    body = b"".join(struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4) for kind, value in attributes)
    size = len(body) + 8 * fingerprint
    whole = b"\x00\x01" + size.to_bytes(2) + stun.COOKIE + ID + body
    if fingerprint:
        whole += struct.pack("!HHI", 0x8028, 4, crc32(whole) ^ 0x5354554E)
    return whole


@pytest.mark.parametrize(("address", "port"), [("192.0.2.7", 40_000), ("2001:db8::7", 9)])
def test_a_binding_request_is_told_where_it_came_from(address: str, port: int) -> None:
    response = stun.answer(REQUEST, ip_address(address).packed, port)
    assert response is not None
    assert response[:2] == b"\x01\x01"
    assert response[4:20] == REQUEST[4:20]
    assert int.from_bytes(response[2:4]) == len(response) - 20
    assert stun.read_mapped(response) == (address, port)


def test_the_attribute_is_that_of_the_vectors_of_rfc_5769() -> None:
    # Section 2.2: the response to 192.0.2.1 port 32853.
    transaction = bytes.fromhex("b7e7a701bc34d686fa87dfae")
    response = stun.answer(b"\x00\x01\x00\x00" + stun.COOKIE + transaction, bytes([192, 0, 2, 1]), 32_853)
    assert response is not None
    assert response[20:] == bytes.fromhex("002000080001a147e112a643")


def test_a_client_of_rfc_3489_gets_the_plain_attribute() -> None:
    old = b"\x00\x01\x00\x00" + bytes(range(16))
    response = stun.answer(old, bytes([192, 0, 2, 7]), 40_000)
    assert response is not None
    assert response[20:] == bytes.fromhex("000100080001") + (40_000).to_bytes(2) + bytes([192, 0, 2, 7])


def test_a_fingerprint_is_checked_and_answered_with_one() -> None:
    asked = request((0x8022, b"phone"), fingerprint=True)
    response = stun.answer(asked, bytes([192, 0, 2, 7]), 1)
    assert response is not None
    assert response[-8:] == struct.pack("!HHI", 0x8028, 4, crc32(response[:-8]) ^ 0x5354554E)
    assert stun.answer(asked[:-1] + bytes([asked[-1] ^ 1]), bytes([192, 0, 2, 7]), 1) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x11" + REQUEST[2:],  # an indication
        b"\x01\x01" + REQUEST[2:],  # a response
        b"\x00\x03" + REQUEST[2:],  # allocate
        REQUEST[:-1],
        REQUEST + b"\0",
        REQUEST + bytes(4),
        request((0x0006, b"user")),
        request((0x0008, bytes(20))),
        request((0x0003, bytes(4))),  # change of address
        request((0x8022, b"x"), fingerprint=True)[:-8] + request(fingerprint=True)[-8:],
        request((0x8028, bytes(4)), (0x8022, b"x")),
        request(*[(0x8022, b"x")] * 17),
        b"\x00\x01\x00\x04" + REQUEST[4:] + b"\x80\x22\x00\x09",
    ],
)  # fmt: skip
def test_other_stun_is_for_the_server(data: bytes) -> None:
    assert stun.answer(data, bytes([192, 0, 2, 7]), 1) is None


@given(st.binary(max_size=60), st.sampled_from([bytes(4), bytes(16)]))
def test_any_bytes_are_answered_in_full_or_not_at_all(data: bytes, address: bytes) -> None:
    for each in (data, REQUEST[:2] + (len(data) - len(data) % 4).to_bytes(2) + REQUEST[4:] + data):
        response = stun.answer(each, address, 5)
        assert response is None or stun.read_mapped(response) is not None
