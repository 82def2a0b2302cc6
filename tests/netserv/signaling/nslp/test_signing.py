from base64 import b64encode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdht.signing import SigningKey
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.requests import Request, decode, encode
from netserv.signaling.nslp.responses import Response
from netserv.signaling.nslp.responses import decode as decode_response
from netserv.signaling.nslp.responses import encode as encode_response
from netserv.signaling.nslp.signing import entry_is_of, signed, signed_entry, signer_of
from tests.netserv.signaling.nslp.memory_path import ALICE, probe, setup, trigger
from tests.netserv.signaling.nslp.request_values import KEY, plain, requests
from tests.netserv.signaling.nslp.test_responses import N1, N2, REQUEST

OTHER = SigningKey.from_seed(b"\7" * 32)


@given(requests)
def test_what_is_signed_verifies_after_the_wire(request: Request) -> None:
    read = decode(encode(request))
    assert signer_of(read, [OTHER.public_key, KEY.public_key]) == KEY.public_key
    assert signer_of(read, [OTHER.public_key]) is None
    assert signer_of(read, []) is None


@given(plain, st.data())
@settings(max_examples=200)
def test_no_byte_of_what_is_signed_can_change(request: Request, data: st.DataObject) -> None:
    text = bytearray(encode(signed(request, KEY)))
    at = data.draw(st.integers(0, text.index(b"\nsignature:")))
    text[at] ^= data.draw(st.integers(1, 255))
    try:
        changed = decode(bytes(text))
    except NslpError:
        return
    assert signer_of(changed, [KEY.public_key]) is None


def test_a_signature_is_over_bytes_with_whatever_line_ends_they_have() -> None:
    text = encode(probe(signature=None)).replace(b"\n", b"\r\n")
    head = text[: text.index(b"signature:")]
    crlf = head + b"signature:" + b64encode(ALICE.sign(head)) + b"\r\n\r\n"
    assert signer_of(decode(crlf), [ALICE.public_key]) == ALICE.public_key
    assert signer_of(decode(crlf.replace(b"\r\n", b"\n")), [ALICE.public_key]) is None


def test_trigger_and_inner_request_have_signatures_of_their_own() -> None:
    outer = trigger(setup(), key=OTHER)
    assert signer_of(outer, [ALICE.public_key]) is None
    assert signer_of(outer, [OTHER.public_key]) == OTHER.public_key
    assert signer_of(outer.inner, [ALICE.public_key]) == ALICE.public_key


def test_an_unsigned_request_is_nobodys() -> None:
    assert signer_of(msgspec.structs.replace(probe(), signature=None), [ALICE.public_key]) is None


@pytest.mark.parametrize("entry", [N1, N2])
def test_a_signed_entry_verifies_after_the_wire_and_for_its_request_only(entry) -> None:
    mine = signed_entry(entry, REQUEST, KEY)
    response = Response(target=None, request=REQUEST, code=200, stack=(mine, N2))
    read = decode_response(encode_response(response))
    assert entry_is_of(read, read.stack[0], KEY.public_key)
    assert entry_is_of(response, mine, KEY.public_key)
    assert not entry_is_of(read, read.stack[0], OTHER.public_key)
    assert not entry_is_of(read, read.stack[1], KEY.public_key)
    for other in (msgspec.structs.replace(read, request=bytes(16)), read):
        block = read.stack[0].block if other is not read else read.stack[0].block.replace(b"hops:", b"hops:9")
        assert not entry_is_of(other, msgspec.structs.replace(read.stack[0], block=block), KEY.public_key)
