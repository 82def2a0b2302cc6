from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.errors import LocalProtocolError
from netserv.modules.blocks.sip import (
    Headers,
    SipAddress,
    SipError,
    SipRequest,
    SipResponse,
    SipUri,
    read,
    read_address,
    read_uri,
    response_to,
    write,
)

NOTIFY = (
    b"NOTIFY sip:proxy.example.org SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.168.1.5:5060;rport;branch=z9hG4bK77\r\n"
    b"v: SIP/2.0/UDP first.example.org\r\n"
    b'From: "Al; ice" <sip:alice@example.org>;tag=abc\r\n'
    b"t: <sip:proxy.example.org>\r\n"
    b"Call-ID: 8\r\n"
    b"cseq:  17 NOTIFY\r\n"
    b"Subject: folded\r\n"
    b" over \r\n"
    b"\tlines\r\n"
    b"Event: keep-alive\r\n"
    b"Content-Length: 2\r\n"
    b"\r\n"
    b"hixx"
)


def test_a_request_is_taken_apart() -> None:
    request = read(NOTIFY)
    assert isinstance(request, SipRequest)
    assert (request.method, request.uri, request.body) == ("NOTIFY", "sip:proxy.example.org", b"hi")
    headers = request.headers
    assert headers.all("via") == (
        "SIP/2.0/UDP 192.168.1.5:5060;rport;branch=z9hG4bK77",
        "SIP/2.0/UDP first.example.org",
    )
    assert headers.get("subject") == "folded over lines"
    assert headers.get("to") == "<sip:proxy.example.org>"
    assert headers.get("route") is None
    assert read(b"\r\n\r\n" + NOTIFY) == request


def test_a_response_has_what_the_request_says() -> None:
    request = read(NOTIFY)
    assert isinstance(request, SipRequest)
    response = response_to(request, 200, "OK", to_tag="t1", source=("10.0.0.7", 1024), headers=[("server", "z")])
    assert write(response).decode() == (
        "SIP/2.0 200 OK\r\n"
        "Via: SIP/2.0/UDP 192.168.1.5:5060;rport=1024;branch=z9hG4bK77;received=10.0.0.7\r\n"
        "Via: SIP/2.0/UDP first.example.org\r\n"
        'From: "Al; ice" <sip:alice@example.org>;tag=abc\r\n'
        "To: <sip:proxy.example.org>;tag=t1\r\n"
        "Call-ID: 8\r\n"
        "CSeq: 17 NOTIFY\r\n"
        "Server: z\r\n"
        "Content-Length: 0\r\n"
        "\r\n"
    )
    assert response_to(request, 100, "Trying", to_tag="t1").headers.get("to") == "<sip:proxy.example.org>"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"NOTIFY sip", b"NOTIFY  sip", "no start line"),
        (b" SIP/2.0\r\n", b" SIP/3.0\r\n", "no start line"),
        (b"Call-ID: 8\r\n", b"", "no Call-ID"),
        (b"Call-ID: 8", b"Call-ID: 8\r\ni: 9", "Call-ID twice"),
        (b"cseq:  17 NOTIFY", b"cseq: 17 BYE", "method of CSeq is another one"),
        (b"cseq:  17", b"cseq: 2147483648", "no number below"),
        (b"cseq:  17", b"cseq: x", "no number below"),
        (b"Length: 2", b"Length: 5", "content-length '5', with 4 bytes"),
        (b"Length: 2", b"Length: -1", "content-length '-1'"),
        (b"Length: 2", b"Length: 2\r\nl: 3", "Content-Length twice"),
        (b"Event:", b"Event", "no header"),
        (b"Event", b"Ev ent", "no header"),
        (b"keep-alive", b"keep\x00alive", "no header"),
        (b"keep-alive", b"keep\nalive", "no header"),
        (b"keep-alive", b"keep\ralive", "no header"),
        (b"keep-alive", b"\xff", "no UTF-8"),
        (b"\r\n\r\n", b"\r\n", "no empty line"),
        (b"Event: keep-alive\r\n", b"X: y\r\n" * 260, "more than 256 lines"),
        (b"hixx", bytes(70_000), "more than 65535 bytes"),
    ],
)
def test_a_strange_message_is_refused(old: bytes, new: bytes, why: str) -> None:
    assert old in NOTIFY
    with pytest.raises(SipError, match=why):
        read(NOTIFY.replace(old, new, 1))


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("sip:example.org", SipUri(scheme="sip", user=None, host="example.org", port=None)),
        (
            "sips:al:pw@Ex.ORG:5061;transport=tcp;lr?subject=x",
            SipUri(
                scheme="sips",
                user="al:pw",
                host="ex.org",
                port=5061,
                parameters=(("transport", "tcp"), ("lr", None)),
            ),
        ),
        ("sip:a@[2001:db8::1]:5060", SipUri(scheme="sip", user="a", host="[2001:db8::1]", port=5060)),
    ],
)
def test_uris_are_taken_apart(text: str, uri: SipUri) -> None:
    assert read_uri(text) == uri


@pytest.mark.parametrize("text", ["", "tel:1", "sip:", "sip:a b", "sip:a:0", "sip:a:99999", "sip:a;=x", "sip:<a>"])
def test_other_uris_are_refused(text: str) -> None:
    with pytest.raises(SipError):
        read_uri(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("sip:a@b;tag=1", SipAddress(name="", uri="sip:a@b", parameters=(("tag", "1"),))),
        ("<sip:a@b;lr>;TAG=1", SipAddress(name="", uri="sip:a@b;lr", parameters=(("tag", "1"),))),
        ("Al Ice <sip:a@b>", SipAddress(name="Al Ice", uri="sip:a@b")),
        ('"a \\" <b>" <sip:a@b>', SipAddress(name='a " <b>', uri="sip:a@b")),
    ],
)
def test_addresses_are_taken_apart(text: str, address: SipAddress) -> None:
    assert read_address(text) == address
    assert read_address(text).tag in {"1", None}


@pytest.mark.parametrize("text", ["", '"a', '"a" sip:b', "<sip:a", '"a" b <sip:c>', "<sip:a> x", "a b", "<sip:a>;;"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(SipError):
        read_address(text)


def test_what_cannot_be_read_is_not_written() -> None:
    headers = Headers((("via", "x"), ("from", "a"), ("to", "b"), ("call-id", "c"), ("cseq", "1 BYE")))
    assert isinstance(read(write(SipRequest(method="BYE", uri="sip:a", headers=headers))), SipRequest)
    for bad in (
        SipRequest(method="BYE", uri="sip:a b", headers=headers),
        SipRequest(method="BYE", uri="sip:a", headers=Headers((*headers.lines, ("x", "a\r\nVia: b")))),
        SipResponse(status=200, reason="a\nb", headers=headers),
        SipResponse(status=99, reason="", headers=headers),
    ):
        with pytest.raises(LocalProtocolError, match="no SIP message"):
            write(bad)


@given(st.binary(max_size=120), st.integers(0, len(NOTIFY)), st.integers(0, 40))
def test_any_bytes_are_a_message_or_refused(some: bytes, at: int, removed: int) -> None:
    for data in (some, NOTIFY[:at] + some + NOTIFY[at + removed :]):
        with suppress(SipError):
            message = read(data)
            again = read(write(message))
            assert type(again) is type(message)
            assert again.body == message.body
            lines = [line for line in message.headers.lines if line[0] != "content-length"]
            assert [line for line in again.headers.lines if line[0] != "content-length"] == lines


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for reads in (read_address, read_uri):
        with suppress(SipError):
            reads(text)
