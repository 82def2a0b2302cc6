from contextlib import suppress
from ipaddress import ip_network

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.headers import RULES, Method, read_fields
from netserv.signaling.nslp.requests import (
    Probe,
    Remove,
    Request,
    Setup,
    Trigger,
    decode,
    encode,
    identity_of,
    method_of,
    refreshes,
    request_id,
    signed_part,
)
from netserv.signaling.nslp.text import REQUEST_BYTES_MAX, padded
from netserv.signaling.nslp.values import Dependency, ModuleRef
from tests.netserv.signaling.nslp.memory_path import MODULE, TO_RECEIVER, probe, setup, trigger
from tests.netserv.signaling.nslp.request_values import requests

SIGNATURE = "A" * 85 + "Q=="
VALUES = {
    "dependencies": "a>=1",
    "filter-port": "53",
    "filter-proto": "udp",
    "filter-dst": "10.0.0.0/8",
    "notification": "http://a/",
    "node-id": "n1",
    "probe": "status",
    "properties": "k=v",
    "ttl": "60",
    "url": "http://a/",
    "digest": "sha256:" + "0" * 64,
    "around": "bubble 3",
    "session": "long",
    "password": "x",
    "user": "alice",
    "nonce": "0" * 32,
    "expires": "1",
    "flow": "10.0.0.1>10.0.0.2",
    "body-length": "10",
    "signature": SIGNATURE,
}
# The table of the NetServ design, section 2: where each header may stand and (second) where it must.
WHERE = {
    "dependencies": ("S", ""),
    "filter-port": ("S", ""),
    "filter-proto": ("S", ""),
    "filter-dst": ("S", ""),
    "notification": ("SR", ""),
    "node-id": ("SRPT", ""),
    "probe": ("P", "P"),
    "properties": ("S", ""),
    "ttl": ("S", "S"),
    "url": ("S", "S"),
    "digest": ("S", "S"),
    "around": ("SRP", ""),
    "session": ("SRP", ""),
    "password": ("S", ""),
    "user": ("SRPT", "SR"),
    "nonce": ("SRP", ""),
    "expires": ("SRP", ""),
    "flow": ("SRP", ""),
    "body-length": ("T", "T"),
    "signature": ("SRPT", ""),
}
METHODS = {"S": Method.SETUP, "R": Method.REMOVE, "P": Method.PROBE, "T": Method.TRIGGER}


def needed(letter: str) -> dict[str, str]:
    return {name: VALUES[name] for name, (_, must) in WHERE.items() if letter in must}


@given(requests)
def test_requests_come_back_as_they_were(request: Request) -> None:
    text = encode(request)
    read = decode(padded(text))
    assert read == msgspec.structs.replace(request, text=text)
    assert encode(read) == text


@given(requests)
def test_what_was_read_can_be_written_anew(request: Request) -> None:
    anew = msgspec.structs.replace(decode(encode(request)), text=b"")
    assert decode(encode(anew)) == msgspec.structs.replace(anew, text=encode(anew))


@given(requests, st.data())
@settings(max_examples=300)
def test_any_change_of_a_request_is_read_or_one_error(request: Request, data: st.DataObject) -> None:
    text = bytearray(encode(request))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with suppress(NslpError):
        assert encode(decode(bytes(text))) == bytes(text).rstrip(b"\0")


@given(
    st.sampled_from([b"", b"PROBE * NETSERV/0.1\n", b"TRIGGER * NETSERV/0.1\nbody-length:9\n\n"]),
    st.binary(max_size=99),
)
def test_any_bytes_are_read_or_one_error(start: bytes, data: bytes) -> None:
    with suppress(NslpError):
        decode(start + data)


def test_the_text_is_that_of_the_design() -> None:
    setup = Setup(
        target=ModuleRef("NetServ.apps.NetMonitor", "1.0.0"),
        ttl_s=3600,
        url="http://198.51.100.7/netmonitor.zip",
        digest=bytes(31) + b"\xff",
        user="janedoe",
        dependencies=(Dependency("http-server"), Dependency("dispatcher", "1.2")),
        filter_ports=(5060, 5061),
        filter_proto="udp",
        filter_dst=ip_network("198.51.100.7"),
        properties=(("visualizer_ip", "198.51.100.8"), ("port", "5678")),
        nonce=bytes(15) + b"\x0f",
        expires=1_800_000_060,
        flow=TO_RECEIVER,
        others=(("x-note", "höflich"),),
    )
    assert encode(setup).decode() == (
        "SETUP NetServ.apps.NetMonitor_1.0.0 NETSERV/0.1\n"
        "dependencies:http-server,dispatcher>=1.2\n"
        "filter-port:5060,5061\n"
        "filter-proto:udp\n"
        "filter-dst:198.51.100.7\n"
        "properties:visualizer_ip=198.51.100.8,port=5678\n"
        "ttl:3600\n"
        "url:http://198.51.100.7/netmonitor.zip\n"
        "digest:sha256:00000000000000000000000000000000000000000000000000000000000000ff\n"
        "user:janedoe\n"
        "nonce:0000000000000000000000000000000f\n"
        "expires:1800000060\n"
        "flow:10.0.0.1>10.9.0.1\n"
        "x-note:höflich\n"
        "\n"
    )


def test_the_table_of_headers_is_complete() -> None:
    assert set(WHERE) == set(RULES) == set(VALUES)


@pytest.mark.parametrize("letter", METHODS)
@pytest.mark.parametrize("name", WHERE)
def test_a_header_stands_only_where_it_has_a_meaning(letter: str, name: str) -> None:
    allowed, _ = WHERE[name]
    headers = needed(letter) | {name: VALUES[name]}
    if letter in allowed:
        assert RULES[name].field in read_fields(METHODS[letter], tuple(headers.items()))
    else:
        with pytest.raises(NslpError, match=f"{name} has no meaning in {METHODS[letter]}"):
            read_fields(METHODS[letter], tuple(headers.items()))


@pytest.mark.parametrize(("letter", "name"), [(letter, name) for name, (_, must) in WHERE.items() for letter in must])
def test_a_mandatory_header_is_missed(letter: str, name: str) -> None:
    headers = needed(letter)
    del headers[name]
    with pytest.raises(NslpError, match=f"{name} is missing"):
        read_fields(METHODS[letter], tuple(headers.items()))
    with pytest.raises(NslpError, match=f"{name} is empty"):
        read_fields(METHODS[letter], ((name, ""), *headers.items()))


@pytest.mark.parametrize("name", [name for name, (where, must) in WHERE.items() if "S" in where and "S" not in must])
def test_an_optional_header_without_value_is_as_good_as_none(name: str) -> None:
    fields = read_fields(Method.SETUP, (*needed("S").items(), (name, "")))
    assert RULES[name].field not in fields


def lines(*more: str, first: str = "PROBE * NETSERV/0.1") -> bytes:
    return "".join(f"{line}\n" for line in (first, *more, "")).encode()


@pytest.mark.parametrize(
    ("text", "code", "why"),
    [
        (lines("probe:status", "user:alice"), Code.UNAUTHORIZED, "signature is missing"),
        (lines("probe:status", "user:alice", "signature:"), Code.UNAUTHORIZED, "signature is missing"),
        (lines("probe:status", f"signature:{SIGNATURE}", "user:alice"), Code.BAD_REQUEST, "user stands behind"),
        (lines("probe:status", f"signature:{SIGNATURE}", "x-more:"), Code.BAD_REQUEST, "x-more stands behind"),
        (lines("probe:status") + b"more", Code.BAD_REQUEST, "4 bytes stand behind"),
        (lines("probe:status", first="probe * NETSERV/0.1"), Code.BAD_REQUEST, "'probe' is no request"),
        (lines("probe:status", first="RESPONSE * NETSERV/0.1"), Code.BAD_REQUEST, "no request"),
        (lines("probe:status", first="PROBE x NETSERV/0.1"), Code.BAD_REQUEST, "not name_version"),
        (lines("user:a", f"signature:{SIGNATURE}", first="REMOVE * NETSERV/0.1"), Code.BAD_REQUEST, "not name_version"),
        (lines("probe:status", "x-pad:" + "x" * REQUEST_BYTES_MAX), Code.TOO_LARGE, "8192 bytes at most"),
        (lines("probe:status", *(f"x-{number}:" for number in range(64))), Code.TOO_LARGE, "more than 64"),
    ],
)
def test_strange_requests_are_refused_with_a_code(text: bytes, code: Code, why: str) -> None:
    with pytest.raises(NslpError, match=why) as caught:
        decode(text)
    assert caught.value.code is code


def test_a_public_probe_needs_neither_user_nor_signature() -> None:
    assert decode(lines("probe:status")) == Probe(items=("status",), text=lines("probe:status"))


def test_unknown_headers_are_kept() -> None:
    text = lines("x-new:some thing", "probe:status", "future:")
    assert decode(text).others == (("x-new", "some thing"), ("future", ""))


def test_crlf_is_read_and_kept() -> None:
    text = b"PROBE * NETSERV/0.1\r\nprobe:status\r\n\r\n"
    assert encode(decode(text)) == text


def test_a_caller_meets_the_checks_of_the_text() -> None:
    good = setup()
    for change in (
        {"ttl_s": 0},
        {"url": "ftp://a/"},
        {"url": "http://a/\nx-evil:1"},
        {"digest": bytes(31)},
        {"user": "a b"},
        {"user": ""},
        {"nonce": bytes(15)},
        {"expires": -1},
        {"properties": (("a", "1,b=2"),)},
        {"filter_ports": (53,)},
        {"filter_proto": "udp"},
        {"filter_dst": ip_network("10.0.0.0/8")},
        {"filter_ports": (53, 53), "filter_proto": "udp"},
        {"others": (("ttl", "1"),)},
        {"others": (("x", "1"), ("x", "2"))},
        {"others": (("x", "1\n2"),)},
        {"others": (("x", "\ud800"),)},
        {"password": "a\nb"},
        {"signature": bytes(63)},
    ):
        with pytest.raises(NslpError):
            msgspec.structs.replace(good, **change)


def test_a_request_too_long_to_send_is_refused() -> None:
    with pytest.raises(NslpError) as caught:
        encode(Probe(items=("status",), others=(("x", "y" * REQUEST_BYTES_MAX),)))
    assert caught.value.code is Code.TOO_LARGE


def test_a_trigger_holds_its_request_verbatim() -> None:
    inner = setup(flow=TO_RECEIVER.swapped())
    outer = trigger(inner, target=MODULE)
    text = encode(outer)
    assert text.endswith(b"\n\n" + encode(inner))
    assert f"body-length:{len(encode(inner))}\n".encode() in text
    read = decode(text)
    assert isinstance(read, Trigger)
    assert encode(read.inner) == encode(inner)


def test_a_trigger_holds_setup_or_probe_only() -> None:
    body = encode(probe())
    nested = lines(f"body-length:{len(body)}", first="TRIGGER * NETSERV/0.1") + body
    for text in (
        lines(f"body-length:{len(nested)}", first="TRIGGER * NETSERV/0.1") + nested,
        lines(f"body-length:{len(body) + 1}", first="TRIGGER * NETSERV/0.1") + body,
        lines(f"body-length:{len(body) - 1}", first="TRIGGER * NETSERV/0.1") + body,
        lines("body-length:0", first="TRIGGER * NETSERV/0.1"),
        lines(f"body-length:{len(body)}", first=f"TRIGGER {MODULE} NETSERV/0.1") + body,
    ):
        with pytest.raises(NslpError):
            decode(text)
    assert decode(lines(f"body-length:{len(body)}", first="TRIGGER * NETSERV/0.1") + body)


def test_the_signed_part_ends_before_the_signature() -> None:
    text = encode(probe())
    assert signed_part(text) + text[text.index(b"signature:") :] == text
    assert signed_part(text).endswith(b"\n")


def test_how_the_last_lines_end_makes_no_other_request() -> None:
    text = encode(probe())
    assert identity_of(text) == identity_of(text[:-2] + b"\r\n\r\n")
    assert identity_of(text) != identity_of(encode(probe()))


def test_a_response_names_a_request_by_its_nonce_or_a_hash() -> None:
    numbered, plain = probe(), probe(nonce=None)
    assert request_id(numbered, encode(numbered)) == numbered.nonce
    assert len(request_id(plain, encode(plain))) == 16
    assert request_id(trigger(numbered), b"") == numbered.nonce
    assert request_id(trigger(plain), b"") == request_id(plain, encode(plain))
    assert len(request_id(None, b"strange")) == 16


def test_methods_are_those_of_the_values() -> None:
    assert [method_of(one) for one in (setup(), Remove(target=MODULE, user="a"), probe(), trigger(probe()))] == list(
        Method
    )[:4]


def test_only_lifetime_and_proof_may_differ_in_a_refresh() -> None:
    first = setup()
    assert refreshes(setup(ttl_s=60, expires=1_800_000_100), first)
    assert not refreshes(setup(properties=(("a", "1"),)), first)
    assert not refreshes(setup(url="http://10.0.0.1/other.zip"), first)
    assert not refreshes(setup(target=ModuleRef("NetServ.apps.NetMonitor", "1.0.1")), first)
