from ipaddress import ip_address

import pytest

from mdht.signing import SigningKey
from netserv.errors import LocalProtocolError
from netserv.signaling.asking import Signer, prepared
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.requests import Probe, Setup, Trigger, decode, encode
from netserv.signaling.nslp.signing import signer_of
from netserv.signaling.nslp.values import Flow
from netserv.signaling.request_files import read_request

FLOW = Flow(ip_address("10.1.0.2").packed, ip_address("10.5.0.2").packed)
KEY = SigningKey.from_seed(bytes(32))
ALICE = Signer("alice", KEY)
SETUP = b"""SETUP NetServ.apps.NetMonitor_1.0.0 NETSERV/0.1
ttl:60
url:https://modules.example.org/m.zip
digest:sha256:%s
""" % (b"ab" * 32)
PROBE = b"PROBE * NETSERV/0.1\nprobe:status"


@pytest.mark.parametrize("ending", [b"", b"\n", b"\n\n", b"\n\n\n", b"\n\0\0"])
def test_a_file_may_end_as_editors_leave_it(ending: bytes) -> None:
    assert read_request(PROBE + ending) == Probe(items=("status",))


def test_a_file_of_another_system_is_read_too() -> None:
    assert read_request(SETUP.replace(b"\n", b"\r\n"), "alice") == read_request(SETUP, "alice")


def test_what_a_file_lacks_is_added_and_signed() -> None:
    request = prepared(read_request(SETUP, "alice"), FLOW, ALICE, expires_s=60.0)
    again = decode(encode(request))
    assert isinstance(again, Setup)
    assert signer_of(again, [KEY.public_key]) == KEY.public_key
    assert (again.user, again.ttl_s, again.flow) == ("alice", 60, FLOW)
    assert again.nonce is not None
    assert again.expires is not None
    assert prepared(read_request(SETUP, "alice"), FLOW, ALICE).nonce != again.nonce


def test_what_a_file_says_is_kept() -> None:
    text = PROBE + b"\nnonce:" + b"cd" * 16 + b"\nexpires:2000000000\nflow:10.9.0.1>10.9.0.2\nfuture-header:x"
    request = prepared(read_request(text), FLOW, None)
    assert isinstance(request, Probe)
    assert (request.nonce, request.expires, str(request.flow)) == (b"\xcd" * 16, 2_000_000_000, "10.9.0.1>10.9.0.2")
    assert b"future-header:x\n" in encode(request)


def test_a_signed_file_is_sent_byte_for_byte() -> None:
    text = encode(prepared(read_request(SETUP, "alice"), FLOW, ALICE))
    assert encode(prepared(read_request(text, "bob"), FLOW.swapped(), Signer("bob", SigningKey.generate()))) == text


def test_a_request_without_a_key_is_a_public_one() -> None:
    request = prepared(read_request(PROBE), FLOW, None)
    assert (request.user, request.signature) == (None, None)
    assert decode(encode(request)) == decode(encode(request))


def test_the_file_of_another_publisher_is_not_signed() -> None:
    with pytest.raises(LocalProtocolError, match="of user bob, and the key of alice"):
        prepared(read_request(PROBE + b"\nuser:bob"), FLOW, ALICE)


def test_a_trigger_is_signed_without_and_within_for_the_way_back() -> None:
    text = b"TRIGGER * NETSERV/0.1\n\n" + PROBE
    request = decode(encode(prepared(read_request(text, "alice"), FLOW, ALICE)))
    assert isinstance(request, Trigger)
    assert request.inner.flow == FLOW.swapped()
    for each in (request, request.inner):
        assert signer_of(each, [KEY.public_key]) == KEY.public_key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "first line is not METHOD"),
        (b"HELLO * NETSERV/0.1", "'HELLO' is no request"),
        (b"PROBE * NETSERV/0.1", "probe is missing"),
        (b"PROBE * NETSERV/9.9\nprobe:status", "version"),
        (b"PROBE * NETSERV/0.1\nprobe:\xff", "not UTF-8"),
        (b"SETUP x NETSERV/0.1\nuser:a", "missing"),
    ],
)
def test_a_file_that_is_no_request_is_refused(text: bytes, said: str) -> None:
    with pytest.raises(NslpError, match=said):
        read_request(text)
