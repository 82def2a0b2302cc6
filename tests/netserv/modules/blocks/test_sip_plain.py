import random
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netserv.modules.api import ACCEPT, Packet, Verdict
from netserv.modules.blocks import sip
from netserv.modules.blocks.sip_plain import (
    PlainResponder,
    plain_answers,
    plain_response,
    python_plain_answers,
    python_plain_response,
)
from tests.netserv.apps.keep_alive.messages import AGENT, NOTIFY, notify
from tests.netserv.modules.test_packets import FOUR, SIX, TCP, UDP, packet_bytes, view

Found = tuple[bytes, int] | None
FORMS: dict[str, Callable[..., Found]] = {"python": python_plain_response, "chosen": plain_response}
RULES = (b"NOTIFY", b"keep-alive", b"200 OK", b"5a17")


def plain(data: bytes, source: tuple[str, int] = AGENT) -> Found:
    """What both forms say, which is the same."""
    found = [form(data, *source, *RULES) for form in FORMS.values()]
    assert found[0] == found[1]
    assert found[0] == plain_response(memoryview(data), *source, *RULES)
    return found[0]


def answered(data: bytes, source: tuple[str, int] = AGENT) -> tuple[sip.SipResponse, int] | None:
    found = plain(data, source)
    if found is None:
        return None
    response = sip.read(found[0])
    assert isinstance(response, sip.SipResponse)
    return response, found[1]


def test_a_keep_alive_is_answered_with_its_own_headers() -> None:
    found = answered(NOTIFY)
    assert found is not None
    response, port = found
    assert (response.status, response.reason, response.body, port) == (200, "OK", b"", 40_000)
    request = sip.read(NOTIFY)
    for name in ("via", "from", "call-id", "cseq"):
        assert response.headers.all(name) == request.headers.all(name)
    to = sip.read_address(response.headers.get("to") or "")
    assert to.uri == "sip:10.1.0.2"
    assert to.tag is not None
    assert to.tag.startswith("5a17")
    assert response.headers.get("content-length") == "0"
    assert response.headers.get("event") is None


@pytest.mark.parametrize("port", [1, 9, 10, 65_535, 2**62, 2**63 - 1])
def test_any_number_is_written_as_a_port(port: int) -> None:
    found = plain(notify((b";branch", b";rport;branch")), (AGENT[0], port))
    assert found is not None
    assert f";rport={port};".encode() in found[0]
    assert found[1] == port


def test_who_comes_from_port_0_is_not_answered() -> None:
    assert plain(notify((b";branch", b";rport;branch")), (AGENT[0], 0)) is None


def test_a_repetition_gets_the_same_answer_and_another_request_another_tag() -> None:
    first = plain(NOTIFY)
    assert first == plain(NOTIFY)
    other = plain(notify((b"3f2504e0", b"3f2504e1")))
    assert first is not None
    assert other is not None
    assert first[0].replace(b"3f2504e0", b"3f2504e1") != other[0]


@pytest.mark.parametrize(
    ("via", "source", "expected", "port"),
    [
        ("192.0.2.7:40000;branch=a", AGENT, "192.0.2.7:40000;branch=a", 40_000),
        # Section 18.2.2: without rport to the port that the Via names, 5060 where it names none.
        ("192.0.2.7;branch=a", AGENT, "192.0.2.7;branch=a", 5060),
        # RFC 3581: rport is filled in, and received added, even where the address is the same.
        ("192.0.2.7;rport;branch=a", AGENT, "192.0.2.7;rport=40000;branch=a;received=192.0.2.7", 40_000),
        ("192.0.2.7;rport=1;branch=a", AGENT, "192.0.2.7;rport=40000;branch=a;received=192.0.2.7", 40_000),
        # Behind a NAT.
        ("10.0.0.4:5060;branch=a", AGENT, "10.0.0.4:5060;branch=a;received=192.0.2.7", 40_000),
        ("phone.example;branch=a", AGENT, "phone.example;branch=a;received=192.0.2.7", 40_000),
        ("[2001:db8::7]:5061;branch=a", ("2001:db8::7", 9), "[2001:db8::7]:5061;branch=a", 5061),
        ("[2001:db8::8]:5061", ("2001:db8::7", 9), "[2001:db8::8]:5061;received=2001:db8::7", 9),
        # Only the topmost one is of the last hop.
        ("10.0.0.4;branch=b, SIP/2.0/TCP x.example", AGENT,
         "10.0.0.4;branch=b;received=192.0.2.7, SIP/2.0/TCP x.example", 40_000),
    ],
)  # fmt: skip
def test_the_topmost_via_says_where_the_request_came_from(
    via: str, source: tuple[str, int], expected: str, port: int
) -> None:
    found = answered(notify((b"192.0.2.7:40000;branch=z9hG4bK-4f3a8d21", via.encode())), source)
    assert found is not None
    assert found[0].headers.all("via") == (f"SIP/2.0/UDP {expected}",)
    assert found[1] == port


def test_further_vias_are_copied_in_their_order() -> None:
    more = b"v: SIP/2.0/TCP a.example;received=1.2.3.4\r\nVia: SIP/2.0/UDP b.example\r\nFrom:"
    found = answered(notify((b"From:", more)))
    assert found is not None
    assert [each.split()[-1] for each in found[0].headers.all("via")] == [
        "192.0.2.7:40000;branch=z9hG4bK-4f3a8d21",
        "a.example;received=1.2.3.4",
        "b.example",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        [(b"Via:", b"v:"), (b"From:", b"f:"), (b"To:", b"t:"), (b"Call-ID:", b"i:"), (b"Event:", b"o:")],
        [(b"Via:", b"VIA :"), (b"Call-ID:", b"call-id:"), (b"CSeq:", b"CSEQ\t:"), (b"Event:", b"eVeNt:")],
        [(b"Event: keep-alive", b"Event:Keep-Alive;id=3")],
        [(b"Content-Length: 0\r\n", b"")],
        [(b"Content-Length: 0", b"l:  000 ")],
        [(b"Max-Forwards", b"Subscription-State: active\r\nMax-Forwards")],
    ],
)
def test_other_spellings_are_keep_alives_too(changes: list[tuple[bytes, bytes]]) -> None:
    assert answered(notify(*changes)) is not None


@pytest.mark.parametrize(
    "change",
    [
        (b"NOTIFY sip", b"OPTIONS sip"),
        (b"NOTIFY sip", b"notify sip"),
        (b" SIP/2.0\r\nVia", b" SIP/3.0\r\nVia"),
        (b"42 NOTIFY", b"42 OPTIONS"),
        (b"42 NOTIFY", b"NOTIFY"),
        (b"Event: keep-alive", b"Event: presence"),
        (b"Event: keep-alive", b"Event: keep-alive-too"),
        (b"Event: keep-alive\r\n", b""),
        (b"Event: keep-alive", b"Event: keep-alive\r\nEvent: keep-alive"),
        (b"<sip:10.1.0.2>\r\n", b"<sip:10.1.0.2>;tag=8\r\n"),  # in a dialog
        (b"<sip:10.1.0.2>\r\n", b"<sip:10.1.0.2>; Tag = 8\r\n"),
        (b"Max-Forwards", b"Require: eventlist\r\nMax-Forwards"),
        (b"Max-Forwards", b"proxy-require: sec-agree\r\nMax-Forwards"),
        (b"Content-Length: 0\r\n\r\n", b"Content-Length: 4\r\n\r\nbody"),
        (b"Content-Length: 0\r\n\r\n", b"Content-Length: 0\r\n\r\nbody"),
        (b"Content-Length: 0", b"Content-Length: 1"),
        (b"Call-ID: 3f2504e0@192.0.2.7\r\n", b""),
        (b"Call-ID", b"i: 7\r\nCall-ID"),
        (b"From", b"From: <sip:a@b>;tag=1\r\nFrom"),
        (b"Via: SIP/2.0/UDP 192.0.2.7:40000;branch=z9hG4bK-4f3a8d21\r\n", b""),
        (b"SIP/2.0/UDP", b"SIP/2.0/TCP"),
        (b"SIP/2.0/UDP 192.0.2.7:40000", b"SIP/2.0/UDP 192.0.2.7:0"),
        (b"branch", b"received=1.2.3.4;branch"),
        (b"Max-Forwards", b" folded\r\nMax-Forwards"),
        (b"Max-Forwards", b"no header\r\nMax-Forwards"),
        (b"agent\"", b"agent\n\""),
        (b"agent\"", b"agent\r\""),
        (b"agent\"", b"agent\0\""),
        (b"\r\n\r\n", b"\r\n"),
        (b"Max-Forwards", b"X: y\r\n" * 64 + b"Max-Forwards"),
    ],
)  # fmt: skip
def test_what_is_more_than_a_keep_alive_is_for_the_server(change: tuple[bytes, bytes]) -> None:
    assert plain(notify(change)) is None


STRANGE = [b"o: keep-alive", b"t: <sip:a>;tag=1", b"x", b" y", b":", b"Require: a"]
LINES = st.sampled_from([*NOTIFY.split(b"\r\n"), *STRANGE])


@given(st.lists(LINES, max_size=14) | st.lists(st.binary(max_size=40), max_size=5))
def test_whatever_is_answered_is_sound_sip_and_has_what_section_8_2_6_asks_for(lines: list[bytes]) -> None:
    for data in (b"\r\n".join(lines), b"\r\n".join([NOTIFY.split(b"\r\n")[0], *lines, b"", b""])):
        found = plain(data)
        if found is not None:
            request, response = sip.read(data), sip.read(found[0])
            assert isinstance(request, sip.SipRequest)
            assert request.method == "NOTIFY"
            assert request.headers.get("event") == "keep-alive"
            for name in ("from", "call-id", "cseq"):
                assert response.headers.all(name) == request.headers.all(name)
            assert len(response.headers.all("via")) == len(request.headers.all("via"))


PIECES = [
    b"\r\n",
    b"\r",
    b"\n",
    b":",
    b";",
    b",",
    b"=",
    b" ",
    b"\t",
    b"tag",
    b"rport",
    b"received",
    b"[",
    b"]",
    b"0",
    b"\0",
    b"\xff",
    b"\x7f",
]


@given(st.integers(0, 2**32), st.integers(1, 12))
@example(1, 3)
def test_both_forms_say_the_same_of_what_is_a_little_spoilt(seed: int, changes: int) -> None:
    chance, data = random.Random(seed), bytearray(NOTIFY)
    for _ in range(changes):
        at = chance.randrange(len(data))
        until = at + chance.choice([0, 0, 1, 1, 2, 9])
        data[at:until] = chance.choice([b"", *PIECES, bytes([chance.randrange(256)]), NOTIFY[at : at + 40]])
    plain(bytes(data))


@given(st.integers(0, 2**32))
def test_both_forms_say_the_same_of_vias(seed: int) -> None:
    chance = random.Random(seed)
    hosts = [b"192.0.2.7", b"192.0.2.8", b"PHONE.example", b"[2001:DB8::7]", b"[]", b"[1]", b"", b"a_b", b"-"]
    ports = [b"", b":", b":0", b":1", b":65535", b":65536", b":123456", b":5 ", b":x", b" "]
    more = [
        b";rport",
        b"; RPORT ",
        b";rport=",
        b";rport=7 ",
        b";rportx",
        b";xrport",
        b";branch=1",
        b";Received=1",
        b";",
        b";;",
    ]
    parts = [b"SIP/2.0/UDP ", chance.choice(hosts), chance.choice(ports), *chance.choices(more, k=chance.randrange(4))]
    via = b"".join(parts) + chance.choice([b"", b",", b", SIP/2.0/UDP x;rport", b" "])
    spelt = chance.choice([b"Via: ", b"v:", b"VIA \t: \t"])
    head = b"Via: SIP/2.0/UDP 192.0.2.7:40000;branch=z9hG4bK-4f3a8d21"
    for source in (AGENT, ("2001:db8::7", 9)):
        plain(notify((head, spelt + via)), source)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_other_methods_and_requests_without_an_event_may_be_asked_for(form: Callable[..., Found]) -> None:
    options = notify((b"NOTIFY sip", b"OPTIONS sip"), (b"42 NOTIFY", b"42 OPTIONS"), (b"Event: keep-alive\r\n", b""))
    found = form(options, *AGENT, b"OPTIONS", b"", b"404 Not Here", b"")
    assert found is not None
    assert found[0].startswith(b"SIP/2.0 404 Not Here\r\nVia: ")
    assert form(options, *AGENT, b"OPTIONS", b"keep-alive", b"200 OK", b"") is None


def test_the_largest_datagrams_are_taken() -> None:
    long = notify((b"User-Agent", b"X: " + b"y" * 60_000 + b"\r\nFrom2: " + b"z" * 4_000 + b"\r\nUser-Agent"))
    assert plain(long) is not None
    assert plain(notify((b"Call-ID: ", b"Call-ID: " + b"y" * 60_000))) is not None


@pytest.mark.skipif(plain_response is python_plain_response, reason="the compiled part is not there")
@pytest.mark.parametrize(
    "arguments", [(), (b"", "", 1, "NOTIFY", b"", b"", b""), (1, "", 1, b"", b"", b"", b""), (b"", "", "", *RULES)]
)
def test_wrong_arguments_are_errors_of_the_caller(arguments: tuple[object, ...]) -> None:
    with pytest.raises((TypeError, AttributeError)):
        plain_response(*arguments)  # type: ignore[arg-type]


@given(
    st.lists(
        st.builds(
            lambda ends, proto, data, ports, place, byte, size: _spoiled(
                packet_bytes(ends, proto, data, ports), place, byte, size
            ),
            st.sampled_from([FOUR, SIX, (AGENT[0], "10.1.0.2")]),
            st.sampled_from([UDP, UDP, TCP]),
            st.sampled_from([NOTIFY, notify((b"192.0.2.7:40000", b"192.0.2.7:5070")), NOTIFY[:-2], b"\r\n", b""]),
            st.tuples(st.sampled_from([0, 1, AGENT[1]]), st.just(5060)),
            st.none() | st.integers(0, 43),
            st.integers(0, 255),
            st.none() | st.integers(20, 60),
        ),
        max_size=5,
    )
)
def test_packets_are_answered_together_as_they_are_one_by_one(packets: list[bytes]) -> None:
    responder = PlainResponder(*RULES)
    views = [view(each) for each in packets if len(each) >= (20 if each[0] < 0x60 else 40)]
    alone = [responder.answer(each) for each in views]
    others = iter(each for each, answer in zip(views, alone, strict=True) if answer is None)

    def otherwise(packet: Packet) -> Verdict:
        assert packet is next(others)
        return ACCEPT

    count = len(alone) - alone.count(None)
    assert responder.answers(views, otherwise) == ([ACCEPT if each is None else each for each in alone], count)
    assert plain_answers(views, *RULES, responder.answer) == python_plain_answers(views, *RULES, responder.answer)


def _spoiled(packet: bytes, place: int | None, byte: int, size: int | None) -> bytes:
    changed = bytearray(packet)
    if place is not None and place < len(changed):
        changed[place] = byte
    return bytes(changed[:size])


def test_an_answer_is_a_whole_packet_back_to_the_sender() -> None:
    ends = (AGENT[0], "10.1.0.2")
    answer = PlainResponder(*RULES).answer(view(packet_bytes(ends, UDP, NOTIFY, (AGENT[1], 5060))))
    assert answer is not None
    found = plain(NOTIFY)
    assert found is not None
    expected = view(packet_bytes(ends[::-1], UDP, found[0], (5060, AGENT[1]))).replaced(ttl=64)
    assert bytes(answer) == bytes(expected)


def test_who_has_no_packets_gets_no_answers() -> None:
    assert PlainResponder(*RULES).answers([], lambda _: ACCEPT) == ([], 0)


@pytest.mark.skipif(plain_answers is python_plain_answers, reason="the compiled part is not there")
def test_arguments_of_answers_are_checked() -> None:
    def otherwise(_: object) -> bytearray | None:
        raise LookupError

    for arguments in ((), ([], *RULES), ([], "NOTIFY", *RULES[1:], otherwise), (1, *RULES, otherwise)):
        with pytest.raises(TypeError):
            plain_answers(*arguments)  # type: ignore[arg-type]
    with pytest.raises(LookupError):
        plain_answers(["no packet"], *RULES, otherwise)  # type: ignore[list-item]
